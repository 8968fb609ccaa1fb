#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: whether a host takes mail, or only carries on what it has."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: agent_drain
short_description: Have a host take no more mail, or take it again
description:
  - Drained, the agent closes its ports at once, lets sessions end the message they are in the middle of, and goes on
    delivering. The state outlives restarts, reboots and runs of C(site.yml).
  - Nothing is changed by a release that cannot be drained, nor on a host whose mail is just being handed over.
options:
  state:
    description: C(drained), or C(serving) for one that takes mail.
    type: str
    choices: [drained, serving]
    default: drained
  because:
    description: A reason, which C(relay-agent status) shows.
    type: str
    default: ''
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
author: The Postroad founders
"""

EXAMPLES = r"""
- name: Take no more mail
  postroad.relay.agent_drain:
    because: the host is replaced
"""

RETURN = r"""
messages:
  description: How many messages wait on the host.
  type: int
  returned: success
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.postroad.relay.plugins.module_utils.agent_queue import AgentQueue, AgentQueueError
from ansible_collections.postroad.relay.plugins.module_utils.host_drain import DrainError, HostDrain

ARGUMENTS = {
    "state": {"type": "str", "choices": ["drained", "serving"], "default": "drained"},
    "because": {"type": "str", "default": ""},
}


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    queue = AgentQueue(module.run_command)
    drain = HostDrain(module.run_command, queue)
    before, wanted = "drained" if drain.since() is not None else "serving", module.params["state"]
    try:
        if wanted == "drained":
            changed = drain.drain(module.params["because"], check_mode=module.check_mode)
        else:
            changed = drain.undrain(check_mode=module.check_mode)
        waiting = queue.waiting()
    except (AgentQueueError, DrainError) as error:
        module.fail_json(msg=str(error))
    diff = {"before": f"{before}\n", "after": f"{wanted}\n"} if before != wanted else {}
    module.exit_json(changed=changed, messages=waiting.messages, diff=diff)


if __name__ == "__main__":
    main()
