# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module, documentation only: the work is done on the controller, by plugins/action/dns_check.py."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: dns_check
short_description: Compare the DNS records that are published with those that the fleet needs
description:
  - Asks each name server of each record's zone, or a resolver, and shows a table of what is as it should be, missing or
    wrong, and the lines of a zone file that mend it. Fails when something is missing or wrong.
  - Runs on the controller. What each option means is in the variables of the role C(relay_dns).
options:
  at:
    description: Whether the zones' name servers are asked, or only the resolver.
    type: str
    choices: [authoritative, resolver]
    default: authoritative
  resolver:
    description: The address of the resolver. The default is that of the controller.
    type: str
    default: ''
  servers:
    description: Addresses of name servers to ask in place of those that the zones name.
    type: list
    elements: str
    default: []
  json:
    description: Write the outcome to this file on the controller, too.
    type: path
extends_documentation_fragment:
  - postroad.relay.fleet_dns
attributes:
  check_mode:
    support: full
    details: Shows the table and writes no file.
  diff_mode:
    support: none
author: The Postroad founders
"""

EXAMPLES = r"""
- name: What is published
  postroad.relay.dns_check:
    hosts: "{{ ansible_play_hosts_all }}"
    relays: "{{ groups.relays }}"
    facts: _relay_dns_facts
  run_once: true
"""

RETURN = r"""
asked:
  description: How many questions were answered or not.
  type: int
  returned: success
"""
