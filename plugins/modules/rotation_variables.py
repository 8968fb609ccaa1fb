# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of rotation_variables, which runs on the controller: see plugins/action/rotation_variables.py."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: rotation_variables
short_description: Judge the variables of a playbook that rotates keys
description:
  - Fails, before anything is touched, for every variable that is misspelt, missing, or not what it should be.
  - Runs on the controller.
options:
  playbook:
    description: The playbook, whose name its variables begin with.
    type: str
    choices: [rotate_dkim, rotate_ca]
    required: true
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
author: The Postroad founders
"""

EXAMPLES = r"""
- name: Variables
  postroad.relay.rotation_variables:
    playbook: rotate_ca
  run_once: true
  register: _rotate_ca
"""

RETURN = r"""
chosen:
  description: The variables without the playbook's name in front, with their defaults.
  type: dict
  returned: success
"""
