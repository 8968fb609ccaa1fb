#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: the queue in the schema of an earlier release, with the agent stopped."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: queue_schema
short_description: Make the queue one that an earlier release opens
description:
  - Stops the agent and its ports, and has the release that is current bring the queue to an older schema. The units
    stay stopped until an earlier release is put to use, or this one is started again, which takes the queue forward.
  - When the queue cannot be brought there, the agent is started again at once, and the module fails.
options:
  schema:
    description: The earlier release's schema.
    type: int
    required: true
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
author: The Postroad founders
"""

EXAMPLES = r"""
- name: Queue of the release before
  postroad.relay.queue_schema:
    schema: 1
"""

RETURN = r"""
current:
  description: The schema of the release that is current.
  type: int
  returned: success
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.postroad.relay.plugins.module_utils.queue_schema import QueueSchemaError, lower, release_schema
from ansible_collections.postroad.relay.plugins.module_utils.release_store import ReleaseError, ReleaseStore


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(argument_spec={"schema": {"type": "int", "required": True}}, supports_check_mode=True)
    wanted = module.params["schema"]
    store = ReleaseStore()
    try:
        with store.exclusive():
            current = store.current()
            if current is None:
                raise ReleaseError("no release of the agent is installed on this host")
            present = release_schema(store, current, module.run_command)
            changed = wanted < present
            if changed and not module.check_mode:
                lower(store.path(current) / "bin" / "relay-agent", wanted, module.run_command)
    except (OSError, QueueSchemaError, ReleaseError) as error:
        module.fail_json(msg=str(error))
    diff = {"before": f"schema {present}, running\n", "after": f"schema {wanted}, stopped\n"} if changed else {}
    module.exit_json(changed=changed, current=present, diff=diff)


if __name__ == "__main__":
    main()
