#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: the accounts of a running agent, and nothing else."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: agent_accounts
short_description: Make the accounts of a relay those of a list
description:
  - Adds, changes and removes accounts until they are those of the list, and has the running agent take them up. No
    process ends, no session is closed, nothing else is looked at.
  - A change holds for sessions that are open, too. Whose account was removed or disabled submits nothing more.
  - While a change of the agent is on trial, the accounts of the list stay even if the change is put back.
  - Only hashes of passwords are kept on the host. A hash that a password fits is kept, so nothing changes.
options:
  accounts:
    description: See C(relay_agent_accounts) of the role P(postroad.relay.relay_agent#role). An empty list is refused.
    type: list
    elements: dict
    required: true
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    details: Names, and whether each was added, updated or removed. Passwords and their hashes are never shown.
author: The Postroad founders
"""

EXAMPLES = r"""
- name: Accounts
  postroad.relay.agent_accounts:
    accounts: "{{ relay_agent_accounts }}"
"""

RETURN = r"""
added:
  description: Names of accounts that were (or would be) added.
  type: list
  elements: str
  returned: success
updated:
  description: Names of accounts of which something differed.
  type: list
  elements: str
  returned: success
removed:
  description: Names of accounts that are not in the list.
  type: list
  elements: str
  returned: success
total:
  description: How many accounts the list has.
  type: int
  returned: success
agent:
  description: Whether the running agent took them up (C(reloaded), C(not running)); none in check mode.
  type: str
  returned: success
"""

import contextlib
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.postroad.relay.plugins.module_utils.account_sync import AccountSyncError, sync_accounts
from ansible_collections.postroad.relay.plugins.module_utils.agent_settings import ETC, agent_options, given_accounts
from ansible_collections.postroad.relay.plugins.module_utils.host_state import HostState
from ansible_collections.postroad.relay.plugins.module_utils.release_store import ReleaseError
from ansible_collections.postroad.relay.plugins.module_utils.trial import TrialError

FILE = Path(ETC) / "accounts.toml"


def main() -> None:
    """Converge the accounts to the given list."""
    options = agent_options()["accounts"] | {"required": True}
    options.pop("default", None)
    module = AnsibleModule(argument_spec={"accounts": options}, supports_check_mode=True)
    accounts = given_accounts(module.params["accounts"])
    if not accounts:
        module.fail_json(
            msg="relay_agent_accounts is empty, so the accounts are kept on the host (relay-agent account); "
            "to shut everybody out, give one account with disabled: true"
        )
    host = HostState(module.run_command)
    try:
        with contextlib.nullcontext() if module.check_mode else host.store.exclusive():
            current = host.store.current()
            if current is None:
                raise ReleaseError("no agent is installed on this host yet: run site.yml first")
            program = str(host.store.path(current) / "bin" / "relay-agent")
            synced = sync_accounts(module.run_command, program, FILE, accounts, check_mode=module.check_mode)
            if not module.check_mode:
                # Also where nothing differed: what is on trial may have brought in what this list wants to stay.
                host.accounts_settled()
    except (AccountSyncError, OSError, ReleaseError, TrialError) as error:
        module.fail_json(msg=str(error))
    header = {"before_header": str(FILE), "after_header": str(FILE)}
    result = {
        "changed": synced.changed,
        "added": synced.added,
        "updated": synced.updated,
        "removed": synced.removed,
        "total": len(accounts),
        "agent": synced.agent,
        "diff": [header | {"before": "", "after": synced.lines}] if synced.changed else [],
    }
    if synced.refused:
        module.fail_json(
            msg=f"{FILE} has the new accounts, but the running agent goes on with the old ones: {synced.refused}",
            **result,
        )
    module.exit_json(**result)


if __name__ == "__main__":
    main()
