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
