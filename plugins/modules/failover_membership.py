#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: takes a relay out of the address list of the fleet's name, or lets it come back."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: failover_membership
short_description: Take a relay out of the fleet's address list, or let it come back
description:
  - Does nothing on a host where no C(postroad-failover.service) is set up.
options:
  state:
    description:
      - V(left) takes the host out of the list and waits until resolvers have forgotten it; nobody puts it back until it
        is V(joined). A name server that does not do so is a warning, since the others take out who does not answer.
    type: str
    choices: [left, joined]
    default: left
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
author: The Postroad founders
"""

EXAMPLES = r"""
- name: Mail programs go elsewhere
  postroad.relay.failover_membership:
    state: left
"""

RETURN = r"""
waited:
  description: For how many seconds resolvers could remember the host.
  type: int
  returned: when there is a list
"""

import json
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

ARGUMENTS = {"state": {"type": "str", "choices": ["left", "joined"], "default": "left"}}
SETTINGS = Path("/etc/postroad-failover.toml")
PROGRAM = "/usr/local/bin/relay-agent"


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    if not SETTINGS.exists():
        module.exit_json(changed=False)
    action = "leave" if module.params["state"] == "left" else "join"
    command = [PROGRAM, "failover", action, "--json", *(["--check"] if module.check_mode else [])]
    status, output, errors = module.run_command(command)
    if status != 0:
        said = errors.strip() or f"relay-agent failover {action}: exit status {status}"
        if action == "join":
            module.fail_json(msg=f"{said}. The host stays out of the address list until `relay-agent failover join`.")
        # No reason to keep a host in service: closed ports take it out of the list as well, only some looks later.
        module.warn(f"{said}. The others take the host out of the list.")
        module.exit_json(changed=False, waited=0)
    told = json.loads(output)
    last = told.get("last") or []
    if last:
        module.warn(f"{', '.join(last)}: the last of the address list, and stays in it")
    module.exit_json(changed=told["changed"], waited=told.get("waited", 0))


if __name__ == "__main__":
    main()
