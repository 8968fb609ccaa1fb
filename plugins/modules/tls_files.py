#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host's side of tls_certificate: what is there, a request for a certificate, a pair put in use."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: tls_files
short_description: Certificate and key of the agent on a host
description:
  - What M(postroad.relay.tls_certificate) runs on the host. Use that one in a play.
  - In every step but V(prove) the user, the directory, owners and modes are seen to.
author: The Postroad founders
options:
  step:
    description:
      - V(inspect) reads, V(request) makes a key and asks for a certificate, V(install) puts a pair in use.
      - V(prove) fails where the agent's ports do not show the pair in use, if they could not when it was put there.
    type: str
    choices: [inspect, request, install, prove]
    default: inspect
  directory:
    description: Where the pair is kept.
    type: path
    default: /etc/postroad/tls
  agent_user:
    description: The system user of the agent, whose group may read the key; made when missing.
    type: str
    default: postroad
  source_certificate:
    description: A certificate chain that lies on this host already, to be copied into use.
    type: path
  source_key:
    description: The private key of O(source_certificate).
    type: path
  chain:
    description: The certificate chain to install, in PEM.
    type: str
  private_key:
    description: The private key to install, in PEM. Without it the one of V(request), or O(source_key), is meant.
    type: str
"""

EXAMPLES = r"""
- name: See what certificate a host has
  postroad.relay.tls_files:
    step: inspect
"""

RETURN = r"""
chain:
  description: The certificate chain in use, in PEM; empty when there is none.
  returned: for V(inspect)
  type: str
key_matches:
  description: Whether the key in use belongs to it.
  returned: for V(inspect)
  type: bool
renews_itself:
  description: Whether a timer on the host renews the certificate.
  returned: for V(inspect)
  type: bool
taken_up:
  description: Whether the run that put the pair in use got as far as the agent's reload.
  returned: for V(inspect)
  type: bool
misplaced:
  description: What was missing, or had another owner or mode, and was (or would be) put right.
  returned: always
  type: list
  elements: str
source_chain:
  description: The content of O(source_certificate).
  returned: for V(inspect) with a source
  type: str
source_key_matches:
  description: Whether O(source_key) belongs to it.
  returned: for V(inspect) with a source
  type: bool
request:
  description: The certificate request, in PEM.
  returned: for V(request)
  type: str
unproved:
  description: Why no port has shown the certificate in use yet; empty when all have, when that is not for this run to
    see, and in check mode.
  returned: for V(inspect), V(install) and V(prove)
  type: str
reloaded:
  description: Whether the agent was running and took the pair.
  returned: for V(install)
  type: bool
missing_package:
  description: The Debian package to install before another try.
  returned: when openssl is not on the host
  type: str
"""

from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.postroad.relay.plugins.module_utils.service_user import ServiceUserError
from ansible_collections.postroad.relay.plugins.module_utils.tls_store import TlsStore, TlsStoreError

TIMER = Path("/etc/systemd/system/relay-certificate.timer")

ARGUMENTS: dict[str, Any] = {
    "step": {"type": "str", "choices": ["inspect", "request", "install", "prove"], "default": "inspect"},
    "directory": {"type": "path", "default": "/etc/postroad/tls"},
    "agent_user": {"type": "str", "default": "postroad"},
    "source_certificate": {"type": "path"},
    "source_key": {"type": "path", "no_log": False},
    "chain": {"type": "str"},
    "private_key": {"type": "str", "no_log": True},
}


def read_source(module: AnsibleModule, option: str) -> str:
    """The text of a file that the operator named; its absence ends the run with a sentence."""
    path = Path(module.params[option])
    try:
        text: str = path.read_text(encoding="ascii")
    except FileNotFoundError:
        module.fail_json(msg=f"{path} does not exist on this host")
    except (OSError, UnicodeDecodeError) as error:
        module.fail_json(msg=f"{path} on this host cannot be read: {error}")
    return text


def inspect(module: AnsibleModule, store: TlsStore) -> dict[str, Any]:
    """What is in use, and what the operator has laid ready."""
    chain = store.chain()
    result: dict[str, Any] = {
        "chain": chain,
        "key_matches": bool(chain) and store.key_matches(),
        "renews_itself": TIMER.exists(),
        "taken_up": store.is_taken_up(),
        "unproved": "" if module.check_mode else store.prove_again(),
    }
    if module.params["source_certificate"]:
        result["source_chain"] = read_source(module, "source_certificate")
        read_source(module, "source_key")
        result["source_key_matches"] = store.key_matches(
            Path(module.params["source_certificate"]), Path(module.params["source_key"])
        )
    return result


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec=ARGUMENTS,
        supports_check_mode=True,
        required_together=[("source_certificate", "source_key")],
        required_if=[("step", "install", ["chain"])],
    )

    def run(args: list[str], /) -> tuple[int, str, str]:
        status, output, errors = module.run_command(args)
        return status, output, errors

    params = module.params
    store = TlsStore(run, Path(params["directory"]), params["agent_user"])
    if params["step"] != "prove" and module.get_bin_path("openssl") is None:
        text = "openssl is not on this host: install the package openssl"
        module.fail_json(msg=text, missing_package="openssl", misplaced=store.misplaced())
    try:
        if params["step"] == "prove":
            unproved = "" if module.check_mode else store.prove_again()
            if unproved:
                module.fail_json(msg=f"no mail program may see the relay's certificate: {unproved}", unproved=unproved)
            module.exit_json(changed=False, misplaced=[], unproved="")
        misplaced = store.misplaced()
        result: dict[str, Any] = {"changed": store.prepare(check_mode=module.check_mode), "misplaced": misplaced}
        if params["step"] == "inspect":
            result.update(inspect(module, store))
        elif not module.check_mode and params["step"] == "request":
            result.update(changed=True, request=store.request())
        elif not module.check_mode:
            key = read_source(module, "source_key") if params["source_key"] else params["private_key"]
            reloaded = store.install(params["chain"], key)
            result.update(changed=True, reloaded=reloaded, unproved=store.prove_again())
    except (OSError, ServiceUserError, TlsStoreError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
