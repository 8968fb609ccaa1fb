# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of settings_site, whose work is done by the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: settings_site
short_description: Settings of mail programs, served by the relay
description:
  - Makes the settings in every form that mail programs ask for, and has a host serve them with an nginx of their own,
    to which the agent carries browsers from the ports that it shares with them.
  - The profile for Apple's devices is signed on the host with the relay's key, again whenever the certificate changes.
author: The Postroad founders
options:
  service:
    description: See C(relay_settings_service) of the role P(postroad.relay.relay_settings#role).
    type: dict
    default: {}
  hsts:
    description: Seconds for which browsers shall insist on TLS; 0 tells them nothing.
    type: int
    default: 0
  state:
    description: V(absent) takes away what an earlier run set up.
    type: str
    choices: [present, absent]
    default: present
  hostname:
    description: The relay's own name, which is the service's unless O(service) has another.
    type: str
    required: true
  listeners:
    description: The agent's listeners. Those with C(web) say where the web server has to be.
    type: list
    elements: dict
    required: true
  certificate:
    description: See C(relay_tls_certificate). With a private authority, people are given its certificate.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Settings that fill themselves in
  postroad.relay.settings_site:
    hostname: relay.example.org
    listeners: [{port: 443, tls: implicit, web: "127.0.0.1:880"}]
    service: {title: Example mail, domains: [example.org]}
"""

RETURN = r"""
diff:
  description: What is served before and after.
  returned: changed
  type: list
  elements: dict
"""
