# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of rollout_verdict, which runs on the controller: see plugins/action/rollout_verdict.py."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: rollout_verdict
short_description: Judge a step of a rollout
description:
  - Looks at what the tasks of C(rollout.yml) registered for the hosts of a step, and says what is to be done, or what
    was done.
  - Runs on the controller.
options:
  step:
    description:
      - V(staged) fails when a host is not ready for the change.
      - V(proved) says whether the change has proved itself on all hosts of the step.
      - V(kept) says whether all hosts have kept it.
      - V(outcome) fails when something went wrong, with what it was, where, and what each host runs now. It tells
        what no probe has shown, as on a drained host.
    type: str
    choices: [staged, proved, kept, outcome]
    required: true
  hosts:
    description: The hosts of the step, by their inventory names.
    type: list
    elements: str
    required: true
  all_hosts:
    description: All hosts of the rollout, in their order.
    type: list
    elements: str
    default: []
  verdict:
    description: The result of the earlier step V(proved) or V(kept).
    type: dict
    default: {}
  confirm_within:
    description: Seconds until a host whose change nobody confirms goes back by itself.
    type: int
    default: 0
attributes:
  check_mode:
    support: full
    details: Nothing is on trial in check mode; a host on which the change could not be worked out is told all the same.
  diff_mode:
    support: none
author: The Postroad founders
"""

EXAMPLES = r"""
- name: Verdict on this step
  postroad.relay.rollout_verdict:
    step: proved
    hosts: "{{ ansible_play_batch }}"
  run_once: true
  register: _relay_rollout_verdict
"""

RETURN = r"""
good:
  description: With V(proved), whether the change may stay.
  type: bool
  returned: success
undo:
  description: With V(kept), whether those that have kept it are to go back.
  type: bool
  returned: success
unproved:
  description: With V(outcome), what was changed and not probed, with its host, and why.
  type: list
  elements: str
  returned: always
problems:
  description: With V(proved) and V(kept), what went wrong, by host.
  type: dict
  returned: success
"""
