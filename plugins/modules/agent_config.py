#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: the agent's configuration, accounts and units, and the release that runs with them."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: agent_config
short_description: Configure the agent and put configuration and release to use
description:
  - Writes configuration, accounts, upstream secrets and systemd units, makes the given release the current one, and
    restarts or reloads the agent where a change asks for it, and only then.
  - The new release judges the new configuration before that replaces the old one. All but other units is taken up by a
    reload in place, in which no session ends. When the agent does not take it up, the configuration, upstream secrets,
    accounts, units and release that worked last are put back, and the module fails with the journal's last lines.
  - Only hashes of passwords are kept on the host. A hash that a password fits is kept, so nothing changes.
options:
  release:
    description: Release to run; installed by M(postroad.relay.agent_release). Without it the current one stays.
    type: str
  confirm_within:
    description:
      - Leaves what changes on trial, for so many seconds. Then the host puts back what it ran before by itself, and so
        it does when it starts anew in between, unless M(postroad.relay.agent_trial) has kept the change.
      - Without it a change that works stays. Fails on a host on which nothing runs yet.
    type: int
  units:
    description: Content of C(relay-agent.socket) and C(relay-agent.service).
    type: dict
    required: true
    suboptions:
      relay-agent.socket:
        description: The socket unit.
        type: str
        required: true
      relay-agent.service:
        description: The service unit.
        type: str
        required: true
  hostname:
    description: See C(relay_agent_hostname) of the role P(postroad.relay.relay_agent#role).
    type: str
    required: true
  listeners:
    description: See C(relay_agent_listeners) of the role.
    type: list
    elements: dict
    required: true
  tls:
    description: See C(relay_agent_tls) of the role.
    type: dict
    default: {}
  submission:
    description: See C(relay_agent_submission) of the role.
    type: dict
    default: {}
  policy:
    description: See C(relay_agent_policy) of the role.
    type: dict
    default: {}
  oauth:
    description: See C(relay_agent_oauth) of the role.
    type: dict
    default: {}
  metrics:
    description: See C(relay_agent_metrics) of the role.
    type: dict
    default: {}
  history:
    description: See C(relay_agent_history) of the role.
    type: dict
    default: {}
  routes:
    description: See C(relay_agent_routes) of the role.
    type: list
    elements: dict
    default: []
  delivery:
    description: See C(relay_agent_delivery) of the role.
    type: dict
    default: {}
  dkim:
    description: See C(relay_agent_dkim) of the role.
  shaping:
    description: See C(relay_agent_shaping) of the role.
    type: list
    elements: dict
    default: []
  tls_policies:
    description: See C(relay_agent_tls_policies) of the role.
    type: list
    elements: dict
    default: []
  tls_reports:
    description: See C(relay_agent_tls_reports) of the role.
    type: dict
    default: {}
  suppression:
    description: See C(relay_agent_suppression) of the role.
    type: dict
    default: {}
  reputation:
    description: See C(relay_agent_reputation) of the role.
    type: dict
    default: {}
  accounts:
    description: See C(relay_agent_accounts) of the role. An empty list leaves the accounts of the host alone.
    type: list
    elements: dict
    default: []
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    details: Passwords, their hashes and upstream secrets are never shown.
author: The Postroad founders
"""

EXAMPLES = r"""
- name: Configuration, accounts and units
  postroad.relay.agent_config:
    release: "{{ _relay_agent_staged.release }}"
    hostname: relay.example.org
    listeners:
      - {port: 587, tls: starttls}
      - {port: 465, tls: implicit}
    units:
      relay-agent.socket: "{{ lookup('ansible.builtin.template', 'relay-agent.socket.j2') }}"
      relay-agent.service: "{{ lookup('ansible.builtin.template', 'relay-agent.service.j2') }}"
"""

RETURN = r"""
action:
  description: What was done with the running agent (left alone, reloaded, restarted).
  type: str
  returned: success
on_trial:
  description: Whether something changed that is put back unless it is kept.
  type: bool
  returned: success
drained:
  description: Whether the host is drained. It is changed like any other, and its ports stay closed.
  type: bool
  returned: success
generation:
  description: The number of what runs now, for C(rollback.yml); none while it is on trial, or when nothing was done.
  type: int
  returned: success
removed_releases:
  description: Releases that were removed because three newer ones are kept.
  type: list
  elements: str
  returned: success
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.postroad.relay.plugins.module_utils.agent_deployment import Deployment, DeploymentError
from ansible_collections.postroad.relay.plugins.module_utils.agent_settings import (
    SettingsError,
    agent_options,
    build_settings,
)
from ansible_collections.postroad.relay.plugins.module_utils.host_drain import is_drained
from ansible_collections.postroad.relay.plugins.module_utils.systemd_units import SERVICE, SOCKET

UNIT = {"type": "str", "required": True}
UNITS = {"type": "dict", "required": True, "options": {SOCKET: UNIT, SERVICE: UNIT}}


def main() -> None:
    """Converge the host to the given options."""
    module = AnsibleModule(
        argument_spec=agent_options() | {"release": {"type": "str"}, "confirm_within": {"type": "int"}, "units": UNITS},
        supports_check_mode=True,
    )
    try:
        deployment = Deployment(
            build_settings(module.params),
            module.params["units"],
            module.params["release"],
            module.run_command,
            check_mode=module.check_mode,
            confirm_within=module.params["confirm_within"],
        )
        outcome = deployment.converge()
    except (SettingsError, DeploymentError) as error:
        module.fail_json(msg=str(error))
    drained = is_drained()
    if drained:
        module.warn("this host is drained and stays so: it takes no mail until undrain.yml is run for it")
    module.exit_json(
        changed=outcome.changed,
        action=str(outcome.action),
        on_trial=outcome.on_trial,
        drained=drained,
        generation=outcome.generation,
        removed_releases=outcome.removed_releases,
        diff=outcome.diff,
    )


if __name__ == "__main__":
    main()
