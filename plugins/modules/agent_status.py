#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: what a relay is and does at the moment, for the page of the fleet."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: agent_status
short_description: Read what a relay is and does
description:
  - Reads the release in use, the settings that siblings share with a hash of them, the certificate, the queue with
    what it waits for, and counts of the running agent. Changes nothing.
  - A relay without an agent, or with one that does not run, is no failure of the module; the result says so, and
    M(postroad.relay.status_report) judges.
options:
  key:
    description: Drawn for each run. Digests of secrets and accounts are made with it, so that those of one run can be
      compared with each other and tell nobody anything later.
    type: str
    required: true
attributes:
  check_mode:
    support: full
    details: Nothing is ever changed.
author: The Postroad founders
"""

EXAMPLES = r"""
- name: What every relay is and does
  postroad.relay.agent_status:
    key: "{{ lookup('ansible.builtin.password', '/dev/null') }}"
  register: _status
"""

RETURN = r"""
reading:
  description: What was read.
  type: dict
  returned: always
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.postroad.relay.plugins.module_utils.agent_reading import AgentReader, run_within


def main() -> None:
    """Read and return."""
    module = AnsibleModule(
        argument_spec={"key": {"type": "str", "required": True, "no_log": True}}, supports_check_mode=True
    )
    try:
        reading = AgentReader(run_within, module.params["key"]).read()
    except OSError as error:
        module.fail_json(msg=f"the relay's files cannot be read (is become missing?): {error}")
    module.exit_json(changed=False, reading=reading)


if __name__ == "__main__":
    main()
