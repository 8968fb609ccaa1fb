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
  hosts:
    description: The relays of the play.
    type: list
    elements: str
    required: true
  relays:
    description: All relays of the inventory.
    type: list
    elements: str
    required: true
  facts:
    description: Name of the variable in which each relay has the result of M(postroad.relay.dns_facts).
    type: str
    required: true
  directory:
    description: Where the files are written.
    type: path
    required: true
  server:
    description: The server that takes updates, and the key.
    type: dict
  zones:
    description: C(relay_dns_zones).
    type: list
    elements: str
    default: []
  domains:
    description: C(relay_dns_domains).
    type: list
    elements: str
    default: []
  service:
    description: C(relay_dns_service).
    type: str
    default: ''
  incoming:
    description: C(relay_dns_incoming).
    type: list
    elements: dict
    default: []
  settings_host:
    description: C(relay_dns_settings_host).
    type: str
    default: ''
  certificate_names:
    description: C(relay_tls_certificate.names).
    type: list
    elements: str
    default: []
  ttl:
    description: C(relay_dns_ttl).
    type: int
    default: 3600
  failover:
    description: C(relay_dns_failover).
    type: dict
    default: {}
  tlsa:
    description: C(relay_dns_tlsa).
    type: bool
    default: false
  spf:
    description: C(relay_dns_spf).
    type: dict
    default: {}
  dmarc:
    description: C(relay_dns_dmarc).
    type: dict
    default: {}
  mta_sts:
    description: C(relay_dns_mta_sts).
    type: list
    elements: dict
    default: []
  tls_reports:
    description: C(relay_dns_tls_reports).
    type: str
    default: ''
  reverse:
    description: C(relay_dns_reverse).
    type: bool
    default: true
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
