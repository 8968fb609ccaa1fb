#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: what the agent has run on a host, and the way back to it."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: agent_generation
short_description: List what the agent has run on a host, or go back to it
description:
  - Each time that a release or a configuration has proved itself, both are kept together, with the units and the
    upstream secrets, as a generation with a number. The last ten are kept, as long as their release is.
  - Going back is a reload in place, in which no session ends; only other units need a restart. When the agent does not
    take it up, what ran before is put back, and the module fails.
  - Accounts and certificate stay as they are.
options:
  to:
    description:
      - The number of a generation, a release (then the generation used last with it), or V(previous) for the one that
        was in use before the one of now. Without it nothing is changed.
    type: str
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
author: The Postroad founders
"""

EXAMPLES = r"""
- name: What there is to go back to
  postroad.relay.agent_generation:
  register: _generations

- name: Back to what ran before
  postroad.relay.agent_generation:
    to: previous
"""

RETURN = r"""
generations:
  description: Those that can be gone back to, in the order of their last use, with C(id), C(release), C(applied)
    (seconds since 1970) and C(current).
  type: list
  elements: dict
  returned: success
listing:
  description: The same, a line each.
  type: list
  elements: str
  returned: success
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.postroad.relay.plugins.module_utils.generations import GenerationError
from ansible_collections.postroad.relay.plugins.module_utils.going_back import go_back
from ansible_collections.postroad.relay.plugins.module_utils.host_state import HostState
from ansible_collections.postroad.relay.plugins.module_utils.release_store import ReleaseError
from ansible_collections.postroad.relay.plugins.module_utils.snapshot import SnapshotError
from ansible_collections.postroad.relay.plugins.module_utils.systemd_units import UnitError
from ansible_collections.postroad.relay.plugins.module_utils.trial import TrialError

ARGUMENTS = {"to": {"type": "str"}}


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    host = HostState(module.run_command)
    result: dict[str, Any] = {"changed": False}
    try:
        if module.params["to"]:
            result = go_back(host, module.params["to"], check_mode=module.check_mode)
    except (OSError, GenerationError, ReleaseError, SnapshotError, TrialError, UnitError) as error:
        module.fail_json(msg=str(error))
    known = host.generations.all()
    result |= {"generations": [each.export() for each in known], "listing": [str(each) for each in known]}
    module.exit_json(**result)


if __name__ == "__main__":
    main()
