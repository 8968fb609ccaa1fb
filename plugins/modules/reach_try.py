# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of reach_try, which sends a program to the vantage: see plugins/action/reach_try.py."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: reach_try
short_description: Try every port of every relay from a host
description:
  - Looks each relay up, and tries every port over IPv4 and IPv6, waiting for the server's greeting and beginning with
    TLS, up to the point where a mail program would sign in. Judges nothing; M(postroad.relay.reach_report) does.
  - Runs on the host that the task is delegated to. It needs Python 3.11 or later there and nothing else, no root, and
    writes no file; the program comes by standard input.
  - What the host says over SSH is cut off, and the task fails, beyond 4 MB and half a megabyte for each relay, or
    after a minute and twice the time that the relays take.
options:
  hosts:
    description: The relays, by their inventory names.
    type: list
    elements: str
    required: true
  vantage:
    description: The inventory name of the host that the task is delegated to.
    type: str
    required: true
  listeners:
    description: The ports of a relay that has no C(relay_agent_listeners) of its own.
    type: list
    elements: dict
    required: true
  ports:
    description: Ports that are tried besides.
    type: list
    elements: int
    default: []
  authorities:
    description: Authorities to trust besides the vantage's own, in PEM.
    type: str
    default: ""
  within:
    description: Seconds for each relay.
    type: float
    default: 9.5
attributes:
  check_mode:
    support: full
    details: Nothing is ever changed.
  diff_mode:
    support: none
author: The Postroad founders
"""

EXAMPLES = r"""
- name: Every port, from the laptop
  postroad.relay.reach_try:
    hosts: "{{ ansible_play_hosts_all }}"
    vantage: laptop
    listeners: [{port: 587, tls: starttls}]
  delegate_to: laptop
  run_once: true
"""

RETURN = r"""
python:
  description: The version of Python that the vantage has.
  type: str
  returned: success
relays:
  description: For each relay C(attempts), or a C(problem) when it could not be looked up.
  type: dict
  returned: success
"""
