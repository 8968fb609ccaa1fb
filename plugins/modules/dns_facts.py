#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: what of a relay gets into the DNS."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: dns_facts
short_description: Read what of a relay gets into the DNS
description:
  - Returns its names and addresses as given, the records of its signing keys, and the digests of its TLS keys.
options:
  host:
    description: The relay's name in the inventory.
    type: str
    required: true
  name:
    description: Its own name in the DNS.
    type: str
    required: true
  addresses:
    description: Its addresses, as others reach it.
    type: list
    elements: str
    required: true
  listeners:
    description: Its ports; see C(relay_agent_listeners).
    type: list
    elements: dict
    required: true
  tlsa:
    description: Whether there are to be TLSA records. The key of the next certificate is made if there is none yet.
    type: bool
    default: false
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
author: The Postroad founders
"""

EXAMPLES = r"""
- name: What gets into the DNS
  postroad.relay.dns_facts:
    host: relay1
    name: relay1.example.org
    addresses: [198.51.100.11]
    listeners: "{{ relay_agent_listeners }}"
  register: _relay_dns_facts
"""

RETURN = r"""
dkim:
  description: Name and value of the record of each signing key, whatever its state.
  type: list
  elements: dict
  returned: success
drained:
  description: Whether the relay takes no mail for now.
  type: bool
  returned: success
keys:
  description: SHA-256 of the public keys of the present certificate and of the next one.
  type: list
  elements: str
  returned: success
"""

import json
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.postroad.relay.plugins.module_utils.host_drain import DRAINED, is_drained

PROGRAM = "/usr/local/bin/relay-agent"

ARGUMENTS: dict[str, Any] = {
    "host": {"type": "str", "required": True},
    "name": {"type": "str", "required": True},
    "addresses": {"type": "list", "elements": "str", "required": True},
    "listeners": {"type": "list", "elements": "dict", "required": True},
    "tlsa": {"type": "bool", "default": False},
}


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    params = module.params

    def ask(*words: str) -> Any:
        try:
            status, output, errors = module.run_command([PROGRAM, *words, "--json"], handle_exceptions=False)
        except OSError:
            module.fail_json(msg="the agent is not installed here: run site.yml first")
        if status != 0:
            module.fail_json(msg=f"relay-agent {' '.join(words)}: {errors.strip() or f'exit status {status}'}")
        return json.loads(output)

    if not params["addresses"]:
        module.fail_json(
            msg=f"relay_dns_addresses: say by which addresses {params['host']} is reached, such as [198.51.100.11]"
        )
    changed = False
    keys: list[str] = []
    if params["tlsa"]:
        told = ask("certificate", "tlsa", "--existing")
        if not told["next"] and not module.check_mode:
            told = ask("certificate", "tlsa")
            changed = True
        keys = [key for key in (told["present"], told["next"]) if key]
    domains = sorted({key["domain"] for key in ask("dkim", "keys")})
    dkim = [
        {"name": record["name"], "value": record["value"]}
        for domain in domains
        for record in ask("dkim", "record", domain)
    ]
    given = {name: params[name] for name in ("host", "name", "addresses", "listeners")}
    module.exit_json(changed=changed, keys=keys, dkim=dkim, drained=is_drained(DRAINED), **given)


if __name__ == "__main__":
    main()
