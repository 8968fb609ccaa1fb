#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: a host's mail, or all that belongs to it, brought to the controller and to a host."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: host_parcel
short_description: Bring mail, or a backup, from a host to the controller and back
description:
  - Hands the mail of a drained host over, in three steps that can be repeated wherever they were cut off. C(take) on
    that host takes its queue out of use and brings it to a file on the controller; C(give) on another host takes the
    file in; C(forget) on the first removes what the second has.
  - Backs a host up with C(save), while its agent runs, and restores it with C(restore_files), before the agent is
    installed, and C(restore_mail), with the agent there.
  - A file that a host has taken in before is not taken in again.
options:
  step:
    description: What to do.
    type: str
    choices: [take, give, forget, save, restore_files, restore_mail]
    required: true
  file:
    description: The file on the controller; written for its owner only. One that M(ansible.builtin.copy) would decrypt
      with the vault's password is decrypted here, too.
    type: path
  entries:
    description: For C(forget), what C(take) has named.
    type: list
    elements: str
    default: []
  overwrite:
    description: For C(restore_files), replace files that are there and differ.
    type: bool
    default: false
  path:
    description: Used by the action plugin. The file's place on the host.
    type: path
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
author: The Postroad founders
"""

EXAMPLES = r"""
- name: Back up
  postroad.relay.host_parcel:
    step: save
    file: backups/relay.tar
"""

RETURN = r"""
messages:
  description: How many messages are in it, were taken in, or removed.
  type: int
  returned: success
entries:
  description: Names of the parts, after C(take).
  type: list
  elements: str
  returned: success
known:
  description: Messages that were left out, because they wait on the host already.
  type: int
  returned: after C(give) and C(restore_mail)
before:
  description: Parts that were left out, because the host has taken them in before.
  type: list
  elements: str
  returned: after C(give) and C(restore_mail)
files:
  description: Files that were saved, or written.
  type: list
  elements: str
  returned: after C(save) and C(restore_files)
"""

import os
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.postroad.relay.plugins.module_utils.agent_queue import AgentQueue, AgentQueueError
from ansible_collections.postroad.relay.plugins.module_utils.hand_over import HandOver, HandOverError
from ansible_collections.postroad.relay.plugins.module_utils.host_backup import BackupError, HostBackup
from ansible_collections.postroad.relay.plugins.module_utils.release_store import ReleaseStore
from ansible_collections.postroad.relay.plugins.module_utils.service_user import ServiceUserError, ensure_service_user

ARGUMENTS = {
    "step": {
        "type": "str",
        "choices": ["take", "give", "forget", "save", "restore_files", "restore_mail"],
        "required": True,
    },
    "file": {"type": "path"},
    "entries": {"type": "list", "elements": "str", "default": []},
    "overwrite": {"type": "bool", "default": False},
    "path": {"type": "path"},
}


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    try:
        result = _run(module, Path(module.params["path"] or "/nonexistent"))
    except (AgentQueueError, BackupError, HandOverError, OSError, ServiceUserError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


def _run(module: AnsibleModule, path: Path) -> dict[str, Any]:
    queue = AgentQueue(module.run_command)
    over, backup = HandOver(module.run_command, queue), HostBackup(queue)
    match module.params["step"]:
        case "take":
            return over.take(path, check_mode=module.check_mode)
        case "give":
            return _taken_in({"messages": 0} if module.check_mode else queue.unpack(path))
        case "forget":
            messages = 0 if module.check_mode else queue.handed_over(module.params["entries"])
            return {"changed": bool(messages), "messages": messages}
        case "save":
            if module.check_mode:
                return {"changed": True, **_numbers(queue)}
            saved = backup.save(path, os.uname().nodename, ReleaseStore().current() or "")
            _give_to_directory(path)
            return {"changed": True, **saved}
        case "restore_files":
            made = ensure_service_user(module.run_command, check_mode=module.check_mode)
            restored = backup.restore_files(path, overwrite=module.params["overwrite"], check_mode=module.check_mode)
            return {"changed": made or bool(restored.written), "files": restored.written, "host": restored.host}
        case _:
            return _taken_in({"messages": 0} if module.check_mode else backup.restore_mail(path))


def _taken_in(result: dict[str, Any]) -> dict[str, Any]:
    return {"changed": bool(result["messages"]), **result}


def _numbers(queue: AgentQueue) -> dict[str, Any]:
    waiting = queue.waiting()
    return {"messages": waiting.messages, "recipients": waiting.recipients, "files": []}


def _give_to_directory(path: Path) -> None:
    """To whoever logged in: the file is fetched without further rights."""
    owner = path.parent.stat()
    os.chown(path, owner.st_uid, owner.st_gid)
    path.chmod(0o600)


if __name__ == "__main__":
    main()
