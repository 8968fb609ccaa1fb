# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of reach_report, which runs on the controller: see plugins/action/reach_report.py."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: reach_report
short_description: Show which ports of the relays can be used from where, and fail when something is wrong
description:
  - Shows a table of relays, ports and vantages, of what M(postroad.relay.reach_try) tried, and says in words what
    stands out, such as ports that are closed, answered by somebody else, or show another key than the relay's signed
    statement.
  - Writes the same as JSON.
  - Runs on the controller.
options:
  hosts:
    description: The relays, by their inventory names.
    type: list
    elements: str
    required: true
  listeners:
    description: The ports of a relay that has no C(relay_agent_listeners) of its own.
    type: list
    elements: dict
    required: true
  ports:
    description: Ports that were tried besides.
    type: list
    elements: int
    default: []
  authorities:
    description: Authorities that may certify a relay's statement, in PEM.
    type: str
    default: ""
  tried:
    description: The results of M(postroad.relay.reach_try) in a loop over the vantages.
    type: list
    elements: dict
    required: true
  json:
    description: Write everything to this file on the controller.
    type: path
  fail_on:
    description: The mildest kind of finding that fails the task. With V(never) none does.
    type: str
    choices: [never, trouble, difference, notice]
    default: trouble
attributes:
  check_mode:
    support: full
    details: Shows the table and writes no file.
  diff_mode:
    support: none
author: The Postroad founders
"""

EXAMPLES = r"""
- name: The matrix
  postroad.relay.reach_report:
    hosts: "{{ ansible_play_hosts_all }}"
    listeners: [{port: 587, tls: starttls}]
    tried: "{{ _tried.results }}"
  run_once: true
"""

RETURN = r"""
verdict:
  description: All in one sentence.
  type: str
  returned: always
"""
