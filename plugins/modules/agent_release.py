#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: the release of the agent that fits this host, installed beside the others."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: agent_release
short_description: Install the agent's release beside the running one
description:
  - Builds the agent on the controller, together with its locked dependencies, for the Python, the processor and the
    C library of the target, and installs it there into C(/opt/postroad/releases/<id>/). The id is a hash of all that
    goes in, so a release that is there is neither built nor sent again. The target needs no internet.
  - The release tests itself before it counts as installed. The running release stays untouched and current;
    M(postroad.relay.agent_config) puts the new one to use.
  - Makes the agent's system user and group.
  - Fails on systems that a relay cannot run on, and says which are supported.
options:
  release:
    description: Used by the action plugin. The id to install.
    type: str
  archive:
    description: Used by the action plugin. The release as a tar file on the target.
    type: path
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
author: The Postroad founders
"""

EXAMPLES = r"""
- name: Release of the agent
  postroad.relay.agent_release:
  register: _relay_agent_staged
"""

RETURN = r"""
release:
  description: The id of the release that fits this host.
  type: str
  returned: always
current:
  description: The id of the release in use; none before the first.
  type: str
  returned: always
system:
  description: What the host is (name, python, machine, glibc).
  type: dict
  returned: always
"""

from dataclasses import asdict
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.postroad.relay.plugins.module_utils.release_store import ReleaseError, ReleaseStore
from ansible_collections.postroad.relay.plugins.module_utils.service_user import ServiceUserError, ensure_service_user
from ansible_collections.postroad.relay.plugins.module_utils.supported_system import UnsupportedSystem, read_system


def main() -> None:
    """Without `release`, tell what the host is and has; with it, install what is missing."""
    module = AnsibleModule(
        argument_spec={"release": {"type": "str"}, "archive": {"type": "path"}},
        required_by={"archive": "release"},
        supports_check_mode=True,
    )
    store = ReleaseStore()
    try:
        system = read_system()
        changed = ensure_service_user(module.run_command, check_mode=module.check_mode)
        release, archive = module.params["release"], module.params["archive"]
        if archive and not module.check_mode:
            with store.exclusive():
                # Another run may have installed it while this one sent it.
                if not store.is_complete(release):
                    store.install(release, Path(archive))
                    changed = True
    except (UnsupportedSystem, ServiceUserError, ReleaseError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(
        changed=changed, system=asdict(system), release=release, current=store.current(), installed=store.installed()
    )


if __name__ == "__main__":
    main()
