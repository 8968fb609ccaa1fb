#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: no agent on this host any more."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: agent_removed
short_description: Take the agent off a host that has no mail left
description:
  - Stops and removes the agent, its units, releases, configuration, keys and state, our table of the packet filter, and
    the system user.
  - Ends what C(drain.yml) has told the name server of the fleet, that this relay is held out of the address list.
  - Refuses on a host that takes mail, and on one that has mail left; says how much, and what to do.
options:
  discard_mail:
    description: Remove it whatever mail is left, which is lost then.
    type: bool
    default: false
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
author: The Postroad founders
"""

EXAMPLES = r"""
- name: Take the agent off
  postroad.relay.agent_removed:
"""

RETURN = r"""
removed:
  description: What was removed.
  type: list
  elements: str
  returned: success
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.postroad.relay.plugins.module_utils.agent_queue import AgentQueue
from ansible_collections.postroad.relay.plugins.module_utils.agent_removal import AgentRemoval, RemovalError

ARGUMENTS = {"discard_mail": {"type": "bool", "default": False}}


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    removal = AgentRemoval(module.run_command, AgentQueue(module.run_command))
    discard_mail = module.params["discard_mail"]
    try:
        if module.check_mode:
            removed = removal.planned(discard_mail=discard_mail)
        else:
            removed = removal.remove(discard_mail=discard_mail)
    except (RemovalError, OSError) as error:
        module.fail_json(msg=str(error))
    for warning in removal.warnings:
        module.warn(warning)
    diff = {"before": "".join(f"{each}\n" for each in removed), "after": ""} if removed else {}
    module.exit_json(changed=bool(removed), removed=removed, diff=diff)


if __name__ == "__main__":
    main()
