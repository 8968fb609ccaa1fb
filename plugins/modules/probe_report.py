# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of probe_report, which runs on the controller: see plugins/action/probe_report.py."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: probe_report
short_description: Show which probe messages arrived, and fail when one did not
description:
  - Shows a table of the probes that M(postroad.relay.submit_probe) submitted and M(postroad.relay.await_arrivals)
    waited for, with host, port, TLS mode, program, message id and seconds to the mailbox.
  - Fails with a line for each host and reason that names the ports of the messages that did not arrive.
  - Runs on the controller.
options:
  hosts:
    description: The relays, by their inventory names.
    type: list
    elements: str
    required: true
  submitted:
    description: Name of the variable in which each relay has the result of M(postroad.relay.submit_probe).
    type: str
    required: true
  arrived:
    description: Name of the variable in which each relay has the result of M(postroad.relay.await_arrivals).
    type: str
    required: true
  drained:
    description: Name of the variable in which each relay has the result of M(ansible.builtin.stat) on the file that
      says that it is drained. A drained relay takes no mail and is not judged; fails when all of them are.
    type: str
  file:
    description: Write the rows to this file on the controller as JSON; the table is then shown only when a message is
      missing.
    type: path
attributes:
  check_mode:
    support: full
    details: Says that nothing was submitted.
  diff_mode:
    support: none
author: The Postroad founders
"""

EXAMPLES = r"""
- name: Every message arrived
  postroad.relay.probe_report:
    hosts: "{{ ansible_play_hosts_all }}"
    submitted: _submitted
    arrived: _arrived
  run_once: true
"""

RETURN = r"""
rows:
  description: The table's rows.
  type: list
  elements: dict
  returned: when every message arrived
not_probed:
  description: What was left out on purpose, and why, each with its relay.
  type: list
  elements: str
  returned: except in check mode
"""
