#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: what becomes of a change of the agent that is on trial."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: agent_trial
short_description: Judge, keep or put back a change of the agent that is on trial
description:
  - M(postroad.relay.agent_config) with O(postroad.relay.agent_config#module:confirm_within) leaves a change on trial.
    Unless it is kept in time, the host puts back what it ran before.
options:
  step:
    description:
      - V(judge) compares the agent with how it was before the change. What is worse does not fail the module, the
        result says so.
      - V(keep) makes the change what the host goes back to from now on.
      - V(put_back) undoes it now. Where nothing is on trial, the host says so and is left alone.
      - V(undo) takes back the change that was kept last, as if it had been put back instead. Accounts that have been
        changed since stay. It fails when the release or the configuration has been changed since, or the host started.
    type: str
    choices: [judge, keep, put_back, undo]
    required: true
  watch:
    description: With V(judge), seconds that the change has to be in use before it is judged.
    type: int
    default: 5
attributes:
  check_mode:
    support: full
    details: Nothing is on trial in check mode, and nothing is done.
  diff_mode:
    support: none
author: The Postroad founders
"""

EXAMPLES = r"""
- name: The change has proved itself
  postroad.relay.agent_trial:
    step: keep
"""

RETURN = r"""
problems:
  description: With V(judge), what is worse than before, a sentence each.
  type: list
  elements: str
  returned: success
generation:
  description: With V(keep), the number of what runs now, for C(rollback.yml).
  type: int
  returned: success
state:
  description: With V(put_back) and V(undo), a sentence on what runs now.
  type: str
  returned: success
generations:
  description: With V(undo), what can be gone back to, as M(postroad.relay.agent_generation) lists it.
  type: list
  elements: dict
  returned: success
"""

import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.postroad.relay.plugins.module_utils.applied_state import AppliedState
from ansible_collections.postroad.relay.plugins.module_utils.going_back import take_back
from ansible_collections.postroad.relay.plugins.module_utils.host_state import HostState
from ansible_collections.postroad.relay.plugins.module_utils.release_store import ReleaseError
from ansible_collections.postroad.relay.plugins.module_utils.snapshot import SnapshotError
from ansible_collections.postroad.relay.plugins.module_utils.systemd_units import UnitError
from ansible_collections.postroad.relay.plugins.module_utils.trial import TrialError
from ansible_collections.postroad.relay.plugins.module_utils.trial_judgement import RunCommand, judge

ARGUMENTS: dict[str, Any] = {
    "step": {"type": "str", "choices": ["judge", "keep", "put_back", "undo"], "required": True},
    "watch": {"type": "int", "default": 5},
}


def carry_out(step: str, host: HostState, run: RunCommand, *, watch: float) -> dict[str, Any]:
    """One step; the module's result. watch: seconds. Raises TrialError and the errors of what it is made of."""
    if step == "judge":
        record = host.trial.record()
        time.sleep(max(0.0, min(watch, record["began"] + watch - time.time())))
        return {"changed": False, "problems": judge(run, record["before"], record["switched"])}
    if step == "undo":
        state = take_back(host)
        return {"changed": True, "state": state, "generations": [each.export() for each in host.generations.all()]}
    with host.store.exclusive():
        if step == "keep":
            number, removed = host.keep(AppliedState(**host.trial.record()["applied"]))
            return {"changed": True, "generation": number, "removed_releases": removed}
        if not host.trial.pending:
            return {"changed": False, "state": "No change is on trial there."}
        return {"changed": True, "state": host.trial.put_back() or "What ran before runs still."}


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    if module.check_mode:
        module.exit_json(changed=False, problems=[], state="In check mode nothing was changed.")
    try:
        result = carry_out(
            module.params["step"], HostState(module.run_command), module.run_command, watch=module.params["watch"]
        )
    except (OSError, ReleaseError, SnapshotError, TrialError, UnitError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
