#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host's side of tls_certificate for certificates that the host renews by itself."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: tls_renewal
short_description: A certificate that its host renews by itself
description:
  - What M(postroad.relay.tls_certificate) runs on the host in the mode V(acme). Use that one in a play.
  - Writes the settings and units of C(relay-certificate.timer), has it wait, and does at once what is due.
options:
  state:
    description: V(absent) takes timer and settings away and leaves the certificate in use alone.
    type: str
    choices: [present, absent]
    default: present
  settings:
    description: What C(relay-agent certificate renew) goes by, less the key of the name server.
    type: dict
    default: {}
  key_secret:
    description: The secret of the TSIG key for the name server, in base64.
    type: str
  authority:
    description: Certificates, in PEM, that the authority's own HTTPS is trusted by instead of the system's.
    type: str
  units:
    description: Content of C(relay-certificate.service) and C(relay-certificate.timer).
    type: dict
    default: {}
  release:
    description: The release of the agent that renews now. Without it, the one in use.
    type: str
  directory:
    description: Where the pair is kept.
    type: path
    default: /etc/postroad/tls
  agent_user:
    description: The system user of the agent, whose group may read the key; made when missing.
    type: str
    default: postroad
"""

EXAMPLES = r"""
- name: The host renews its certificate no more
  postroad.relay.tls_renewal:
    state: absent
"""

RETURN = r"""
before:
  description: The certificate chain that was in use, in PEM; empty when there was none.
  returned: for V(present)
  type: str
chain:
  description: The certificate chain in use now, in PEM; empty when there is none.
  returned: for V(present)
  type: str
reason:
  description: Why another certificate was wanted; empty when none was.
  returned: for V(present), but not in check mode
  type: str
problems:
  description: What came to nothing.
  returned: for V(present)
  type: list
  elements: str
unproved:
  description: Why no port has shown the certificate in use yet; empty when all have.
  returned: for V(present), but not in check mode
  type: str
usable:
  description: Whether the certificate in use holds.
  returned: for V(present), but not in check mode
  type: bool
missing_package:
  description: The Debian package to install before another try.
  returned: when it is not on the host
  type: str
"""

from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.postroad.relay.plugins.module_utils.service_user import ServiceUserError
from ansible_collections.postroad.relay.plugins.module_utils.tls_renewal_setup import (
    SERVICE,
    TIMER,
    RenewalError,
    RenewalSetup,
    settings_text,
)
from ansible_collections.postroad.relay.plugins.module_utils.tls_store import TlsStore, TlsStoreError

RELEASES = Path("/opt/postroad")
UNITS = Path("/etc/systemd/system")

ARGUMENTS: dict[str, Any] = {
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "settings": {"type": "dict", "default": {}},
    "key_secret": {"type": "str", "no_log": True},
    "authority": {"type": "str"},
    "units": {"type": "dict", "default": {}},
    "release": {"type": "str"},
    "directory": {"type": "path", "default": "/etc/postroad/tls"},
    "agent_user": {"type": "str", "default": "postroad"},
}


def present(module: AnsibleModule, store: TlsStore, setup: RenewalSetup) -> dict[str, Any]:
    """Settings, timer, and what is due."""
    params = module.params
    changed = store.prepare(check_mode=module.check_mode)
    before = store.chain()
    authority = setup.authority if params["authority"] else None
    text = settings_text(params["settings"] | {"directory": params["directory"]}, params["key_secret"], authority)
    differing = [file for file in setup.files(text, params["authority"], params["units"]) if file.differs()]
    diffs = [file.diff() for file in differing]
    result: dict[str, Any] = {"before": before, "chain": before, "problems": [], "diff": diffs}
    if module.check_mode:
        return result | {"changed": changed or bool(differing) or not before or not setup.timer_runs()}
    for file in differing:
        file.write()
    program = RELEASES / (f"releases/{params['release']}" if params["release"] else "current") / "bin/relay-agent"
    renewed = setup.renew(program)
    units_changed = any(file.path.name in (SERVICE, TIMER) for file in differing)
    if renewed.usable and (units_changed or not setup.timer_runs()):
        setup.start_timer(units_changed=units_changed)
        changed = True
    return result | {
        "changed": changed or bool(differing) or renewed.changed,
        "chain": store.chain(),
        "reason": renewed.reason,
        "usable": renewed.usable,
        "unproved": renewed.unproved,
        "problems": list(renewed.problems),
    }


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)

    def run(args: list[str], /) -> tuple[int, str, str]:
        status, output, errors = module.run_command(args)
        return status, output, errors

    params = module.params
    directory = Path(params["directory"])
    setup = RenewalSetup(run, directory.parent, UNITS)
    try:
        if params["state"] == "absent":
            module.exit_json(changed=setup.remove(check_mode=module.check_mode))
        if module.get_bin_path("lego") is None and not module.check_mode:
            module.fail_json(msg="lego is not on this host: install the package lego", missing_package="lego")
        result = present(module, TlsStore(run, directory, params["agent_user"]), setup)
    except (OSError, RenewalError, ServiceUserError, TlsStoreError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
