#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: the service by which a relay watches its siblings and keeps the address list of their name."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: failover_service
short_description: Have a relay watch the others and keep the address list of their common name
description:
  - Writes the settings, which only root can read, and the unit C(postroad-failover.service), and has it run.
options:
  state:
    description: V(absent) stops the service and takes its files away.
    type: str
    choices: [present, absent]
    default: present
  settings:
    description: What C(relay-agent failover) goes by, less the secret of the key; see docs/dns.md.
    type: dict
    default: {}
  key_secret:
    description: The secret of the TSIG key, in base64.
    type: str
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
author: The Postroad founders
"""

EXAMPLES = r"""
- name: No watcher
  postroad.relay.failover_service:
    state: absent
"""

RETURN = ""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.postroad.relay.plugins.module_utils.failover_units import (
    FailoverUnitError,
    FailoverUnits,
    settings_text,
)

ARGUMENTS = {
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "settings": {"type": "dict", "default": {}},
    "key_secret": {"type": "str", "no_log": True},
}


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    params = module.params

    def run(args: list[str], /) -> tuple[int, str, str]:
        status, output, errors = module.run_command(args)
        return status, output, errors

    try:
        text = settings_text(params["settings"], params["key_secret"] or "") if params["state"] == "present" else None
        units = FailoverUnits(run, text)
        diffs = units.diffs()
        changed = units.differs() if module.check_mode else units.ensure()
    except (FailoverUnitError, OSError, ValueError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=changed, diff=diffs)


if __name__ == "__main__":
    main()
