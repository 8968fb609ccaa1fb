# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of the modules that work out every DNS record of a fleet."""

from __future__ import annotations


class ModuleDocFragment:
    """For `extends_documentation_fragment`."""

    DOCUMENTATION = r"""
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
"""
