#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: how much mail waits on a host; with its action plugin, waiting until none does."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: queue_state
short_description: How much mail waits, and waiting until it is gone
description:
  - Says how many messages wait on a host. With O(until_empty), waits until none does or O(patience) is over, tells of
    the progress on the controller's terminal, and has what was deferred tried at the beginning.
options:
  until_empty:
    description: Wait until no mail is left.
    type: bool
    default: false
  patience:
    description: For so many seconds.
    type: int
    default: 300
  required:
    description: Fail when mail is left, with what to do.
    type: bool
    default: false
  retry:
    description: Used by the action plugin. Have everything that is not held tried now.
    type: bool
    default: false
attributes:
  check_mode:
    support: full
    details: Does not wait, and has nothing tried.
  diff_mode:
    support: none
author: The Postroad founders
"""

EXAMPLES = r"""
- name: Wait until all mail has left
  postroad.relay.queue_state:
    until_empty: true
    patience: 600
"""

RETURN = r"""
messages:
  description: Messages that wait.
  type: int
  returned: success
recipients:
  description: Their recipients.
  type: int
  returned: success
held:
  description: How many of the recipients an operator, or a fault, holds back.
  type: int
  returned: success
leaving:
  description: Messages that are being handed over to another host.
  type: int
  returned: success
empty:
  description: Whether nothing is left.
  type: bool
  returned: success
"""

from dataclasses import asdict

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.postroad.relay.plugins.module_utils.agent_queue import AgentQueue, AgentQueueError

ARGUMENTS = {
    "until_empty": {"type": "bool", "default": False},
    "patience": {"type": "int", "default": 300},
    "required": {"type": "bool", "default": False},
    "retry": {"type": "bool", "default": False},
}


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    queue = AgentQueue(module.run_command)
    try:
        if module.params["retry"] and not module.check_mode:
            queue.retry()
        waiting = queue.waiting()
    except AgentQueueError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, empty=waiting.nothing, words=str(waiting), **asdict(waiting))


if __name__ == "__main__":
    main()
