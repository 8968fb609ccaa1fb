# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of dkim_rotation, which runs on the controller: see plugins/action/dkim_rotation.py."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: dkim_rotation
short_description: Say which step of a rotation of signing keys comes next
description:
  - Compares what M(postroad.relay.dkim_keys) found on each relay, and says what is to be done on all of them.
  - Prints what the operator has to do, records included. Changes nothing. Runs on the controller.
options:
  domain:
    description: The signing domain.
    type: str
    required: true
  hosts:
    description: The relays that were asked, by their inventory names.
    type: list
    elements: str
    required: true
  relays:
    description: All relays of the domain. It is an error when one of them was not asked.
    type: list
    elements: str
    required: true
  found:
    description: Name of the variable in which each relay has the result of M(postroad.relay.dkim_keys).
    type: str
    required: true
  selector:
    description: What the new selectors begin with. By date when empty.
    type: str
    default: ""
  algorithm:
    description: What keys to make (V(both), V(rsa), V(ed25519)).
    type: str
    default: both
  after_days:
    description: How old the keys that sign have to be for the next rotation to begin.
    type: float
    default: 30
  keep_days:
    description: For how long a retired key is kept. Without it, for as long as mail that it signed may be on its way.
    type: float
  ahead:
    description: The step is not done in this run, so what is printed is about the next one.
    type: bool
    default: false
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
author: The Postroad founders
"""

EXAMPLES = r"""
- name: What comes next
  postroad.relay.dkim_rotation:
    domain: example.org
    hosts: "{{ ansible_play_hosts }}"
    relays: "{{ groups['relays'] }}"
    found: _keys
  run_once: true
"""

RETURN = r"""
step:
  description: The next step (make, share, wait, activate, keep, delete, rest).
  type: str
  returned: success
selectors:
  description: The keys that it is about.
  type: list
  elements: str
  returned: success
text:
  description: What was printed.
  type: str
  returned: success
"""
