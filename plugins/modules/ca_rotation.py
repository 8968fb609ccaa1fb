# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of ca_rotation, which runs on the controller: see plugins/action/ca_rotation.py."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: ca_rotation
short_description: A stage on the way from one private authority to the next
description:
  - V(prepare) makes an authority and hands it out beside the one that signs, V(switch) has it sign, V(finish) hands out
    it alone. V(cancel) takes V(prepare) back. V(status) says what comes next, as every other stage does, too.
  - A stage that was done already changes nothing; one whose turn it is not is refused. Runs on the controller.
options:
  stage:
    description: What to do.
    type: str
    choices: [status, prepare, switch, finish, cancel]
    required: true
  wait_days:
    description: How long people have to install the new authority before V(switch) is done.
    type: float
    default: 14
  hosts:
    description: The relays that take part, by their inventory names.
    type: list
    elements: str
    required: true
  relays:
    description: All relays of the authority. It is an error when one of them does not take part.
    type: list
    elements: str
    required: true
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
author: The Postroad founders
"""

EXAMPLES = r"""
- name: Make the next authority
  postroad.relay.ca_rotation:
    stage: prepare
    hosts: "{{ ansible_play_hosts }}"
    relays: "{{ groups['relays'] }}"
  run_once: true
"""

RETURN = r"""
text:
  description: What was printed, with what comes next.
  type: str
  returned: success
"""
