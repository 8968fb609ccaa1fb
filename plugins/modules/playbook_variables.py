# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin playbook_variables, which runs on the controller only."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: playbook_variables
short_description: Check a playbook's own variables, for all of its hosts
description:
  - Fails with every problem of every host of the play. A variable that bears the prefix and is none of the options is
    one, since it is misspelt and nobody would read it.
  - Runs on the controller, in check mode too, and never connects to a host. Meant for C(run_once).
options:
  prefix:
    description: What the names of the playbook's variables begin with, such as C(relay_status_).
    type: str
    required: true
  argument_spec:
    description: The variables, in the form of M(ansible.builtin.validate_argument_spec).
    type: dict
    required: true
attributes:
  check_mode:
    support: full
author: The Postroad founders
"""

EXAMPLES = r"""
- name: What to look at
  postroad.relay.playbook_variables:
    prefix: relay_status_
    argument_spec:
      relay_status_html: {type: path}
  run_once: true
"""

RETURN = r"""
key:
  description: Random text, drawn anew in each run, for modules that make digests to be compared within it.
  type: str
  returned: success
"""
