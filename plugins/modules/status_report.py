# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of status_report, which runs on the controller: see plugins/action/status_report.py."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: status_report
short_description: Show the state of the fleet, and fail when something is wrong
description:
  - Shows a table of what M(postroad.relay.agent_status) read on each relay and M(postroad.relay.port_knock) saw of it
    from outside, marks relays that differ from their siblings, and says in words what is wrong and what differs.
  - Writes the same as one self-contained HTML page with charts, and as JSON.
  - A relay of which nothing is registered is a row that says so.
  - Runs on the controller.
options:
  hosts:
    description: The relays, by their inventory names.
    type: list
    elements: str
    required: true
  read:
    description: Name of the variable in which each relay has the result of M(postroad.relay.agent_status).
    type: str
    required: true
  knocked:
    description: Name of the variable in which each relay has the results of M(postroad.relay.port_knock), of a loop
      over the vantages.
    type: str
    required: true
  html:
    description: Write the page to this file on the controller.
    type: path
  json:
    description: Write the state to this file on the controller as JSON.
    type: path
  thresholds:
    description: From where on something is told; see C(relay_status_thresholds) in docs/status.md.
    type: dict
  fail_on:
    description: The mildest kind of finding that fails the task. With V(never) none does.
    type: str
    choices: [never, trouble, difference, notice]
    default: difference
attributes:
  check_mode:
    support: full
    details: Shows the table and writes no file.
  diff_mode:
    support: none
author: The Postroad founders
"""

EXAMPLES = r"""
- name: The fleet
  postroad.relay.status_report:
    hosts: "{{ ansible_play_hosts_all }}"
    read: _read
    knocked: _knocked
    html: fleet.html
  run_once: true
"""

RETURN = r"""
verdict:
  description: The fleet in one sentence.
  type: str
  returned: always
"""
