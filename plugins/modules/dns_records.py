# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module, documentation only: the work is done on the controller, by plugins/action/dns_records.py."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: dns_records
short_description: The DNS records of a fleet, as files and at a name server
description:
  - Writes, beside the inventory, for each zone a zone file and a script for nsupdate, and JSON for Terraform.
  - With O(server), puts the records there by signed updates (RFC 2136, RFC 8945). What others have put in stays.
  - Runs on the controller. What each option means is in the variables of the role C(relay_dns).
options:
  directory:
    description: Where the files are written.
    type: path
    required: true
  server:
    description: The server that takes updates, and the key.
    type: dict
extends_documentation_fragment:
  - postroad.relay.fleet_dns
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
author: The Postroad founders
"""

EXAMPLES = r"""
- name: The records of the fleet
  postroad.relay.dns_records:
    hosts: "{{ ansible_play_hosts_all }}"
    relays: "{{ groups.relays }}"
    facts: _relay_dns_facts
    directory: "{{ inventory_dir }}/dns-records"
  run_once: true
"""

RETURN = r"""
records:
  description: How many records the fleet needs.
  type: int
  returned: success
directory:
  description: Where the files are.
  type: str
  returned: success
"""
