#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: which ports of a relay are open, seen from the host that it runs on."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: port_knock
short_description: See which ports of a relay are open from here
description:
  - Connects to every listener at once, reads the greeting, begins TLS, verifies the certificate with the relay's name,
    and says goodbye before the sign-in. Sends no mail and changes nothing.
  - A port that is closed does not fail the module, the result says so; M(postroad.relay.status_report) judges.
  - Listeners on a loopback address are left out, nobody else can reach them; so are those behind a balancer
    (C(proxy_from)), which answer nobody but that.
options:
  host:
    description: DNS name of the relay, as its certificate has it.
    type: str
    required: true
  listeners:
    description: The ports, as in the variable C(relay_agent_listeners) of the relay.
    type: list
    elements: dict
    required: true
  ca_certificate:
    description: The authority to trust, in PEM. Without it, those that the system trusts.
    type: str
    default: ""
  timeout:
    description: Seconds for each step.
    type: float
    default: 5
attributes:
  check_mode:
    support: full
    details: Nothing is ever changed.
author: The Postroad founders
"""

EXAMPLES = r"""
- name: The ports, seen from the controller
  postroad.relay.port_knock:
    host: relay.example.org
    listeners: [{port: 587, tls: starttls}]
  delegate_to: localhost
"""

RETURN = r"""
ports:
  description: For each listener C(port), C(tls), C(state) (open, troubled or closed), C(problem), C(greeting),
    C(version) of TLS, C(verified), C(fingerprint) of the certificate, C(offers), C(seconds) to connect.
  type: list
  elements: dict
  returned: always
"""

import ssl
from collections.abc import Mapping, Sequence
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.postroad.relay.plugins.module_utils.port_knock import is_loopback, knock_all


def reachable(listeners: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The listeners that answer others than the relay itself and a balancer."""
    return [each for each in listeners if not (is_loopback(each) or each.get("proxy_from"))]


def main() -> None:
    """Try every port."""
    module = AnsibleModule(
        argument_spec={
            "host": {"type": "str", "required": True},
            "listeners": {"type": "list", "elements": "dict", "required": True},
            "ca_certificate": {"type": "str", "default": ""},
            "timeout": {"type": "float", "default": 5.0},
        },
        supports_check_mode=True,
    )
    options = module.params
    try:
        tried = reachable(options["listeners"])
        ports = knock_all(options["host"], tried, options["ca_certificate"], options["timeout"])
    except (ssl.SSLError, ValueError) as error:
        module.fail_json(msg=f"relay_status_ca_file holds no certificate in PEM form: {error}")
    module.exit_json(changed=False, ports=ports)


if __name__ == "__main__":
    main()
