# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module, documentation only: what it does is in plugins/action/failover_watcher.py."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: failover_watcher
short_description: Have a relay watch the others of its fleet
description:
  - Makes the settings of a relay's watcher of what is known of all relays, and has M(postroad.relay.failover_service)
    set it up on the host; or takes it away where O(failover) is not enabled.
options:
  hosts:
    description: All relays, by their inventory names.
    type: list
    elements: str
    required: true
  facts:
    description: Name of the variable in which each relay has the result of M(postroad.relay.dns_facts).
    type: str
    required: true
  service:
    description: C(relay_dns_service).
    type: str
    default: ''
  domains:
    description: C(relay_dns_domains).
    type: list
    elements: str
    default: []
  zones:
    description: C(relay_dns_zones).
    type: list
    elements: str
    default: []
  server:
    description: C(relay_dns_server).
    type: dict
    default: {}
  failover:
    description: C(relay_dns_failover).
    type: dict
    default: {}
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
author: The Postroad founders
"""

EXAMPLES = r"""
- name: No watcher
  postroad.relay.failover_watcher:
    hosts: "{{ ansible_play_hosts }}"
    facts: _relay_dns_facts
"""

RETURN = ""
