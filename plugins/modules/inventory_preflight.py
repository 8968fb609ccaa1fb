# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin inventory_preflight, which runs on the controller only."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: inventory_preflight
short_description: Judge a host's variables before the host is touched
description:
  - Runs on the controller, in check mode too, and never connects to the host.
  - Finds variables that bear the name of one of the collection's roles and are not one of its options (a misspelt
    variable), values of the wrong type and keys that are not known, ports that are used twice or are not for
    submission, accounts that are there twice or have no password, certificate files that are missing on the
    controller, and everything that the agent would find wrong with the configuration that the variables make.
  - Fails with every problem at once. With C(any_errors_fatal) in the play those of all hosts are shown.
options: {}
attributes:
  check_mode:
    support: full
author: The Postroad founders
"""

EXAMPLES = r"""
- name: Check the inventory
  hosts: relays
  gather_facts: false
  any_errors_fatal: true
  tasks:
    - name: Variables, ports, files and the configuration that they make
      postroad.relay.inventory_preflight:
"""

RETURN = r"""
msg:
  description: Every problem on a line of its own, with the host and the variable that it is in.
  type: str
  returned: always
"""
