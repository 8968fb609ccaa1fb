#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: submit a probe message on each port of a relay, as a person's mail program would."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: submit_probe
short_description: Submit a probe message on each port of a relay
description:
  - Submits one message per listener, all at once, from the host it runs on, with real mail programs. A listener that
    takes TLS from the first byte and STARTTLS gets one message each way.
  - The server's certificate and name are verified. swaks before version 20240103 verifies the certificate only.
  - A message that is refused does not fail the module, the result says so; M(postroad.relay.probe_report) judges.
  - Listeners on a loopback address are left out, nobody else can reach them; so are those that only a balancer may
    use (C(proxy_from)). The result names them. Fails when no listener is left.
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
    options:
      port:
        description: TCP port.
        type: int
        required: true
      tls:
        description: TLS mode; with V(auto) the port is tried as V(implicit) and as V(starttls).
        type: str
        choices: [starttls, implicit, auto, none]
        required: true
      address:
        description: Address that the relay listens on.
        type: str
        default: ""
      auth:
        description: Whether the relay wants a sign-in; with V(none) the probe does not sign in.
        type: str
        choices: [required, optional, none]
        default: required
      proxy_from:
        description: Networks of the balancers that the port is behind; a port that has any is left out.
        type: list
        elements: str
        default: []
      web:
        description: The web server that shares the port. Mail programs are greeted there all the same.
        type: str
        default: ""
  programs:
    description:
      - Mail programs to take turns over the ports. V(smtplib) is Python's own and always there, the others must be
        installed on the host that the module runs on.
    type: list
    elements: str
    choices: [swaks, msmtp, curl, s-nail, smtplib]
    default: [smtplib]
  every_program:
    description: Submit with every program on every port, instead of in turns.
    type: bool
    default: false
  first_program:
    description: Position in O(programs) of the program for the first port, so that several relays start differently.
    type: int
    default: 0
  account:
    description: Name to sign in with.
    type: str
    required: true
  password:
    description: Password to sign in with. It is never on a command line.
    type: str
    required: true
  sender:
    description: Envelope sender and header From.
    type: str
    required: true
  recipient:
    description: Where the message goes.
    type: str
    required: true
  ca_certificate:
    description: PEM text of the authority to trust; empty for those of the system.
    type: str
    default: ""
  timeout:
    description: Seconds that one submission may take.
    type: float
    default: 20
attributes:
  check_mode:
    support: full
    details: Nothing is submitted, and RV(probes) is empty.
  diff_mode:
    support: none
author: The Postroad founders
"""

EXAMPLES = r"""
- name: A message on every port
  postroad.relay.submit_probe:
    host: relay.example.org
    listeners: "{{ relay_agent_listeners }}"
    account: probe
    password: "{{ vault_probe_password }}"
    sender: probe@example.org
    recipient: inbox@example.net
  delegate_to: localhost
  register: _submitted
"""

RETURN = r"""
probes:
  description: One entry for each message, in the order of the ports.
  type: list
  elements: dict
  returned: always
  contains:
    host: {description: Name of the relay., type: str}
    port: {description: Port., type: int}
    tls: {description: "TLS mode that it was submitted in, V(implicit), V(starttls) or V(none).", type: str}
    program: {description: Program used., type: str}
    message_id: {description: Its Message-ID., type: str}
    ok: {description: Whether the relay took the message., type: bool}
    reply: {description: "What the relay said, or else the program.", type: str}
    queue_id: {description: The relay's name for the message; empty when it did not say., type: str}
    submitted: {description: "When the submission began, in seconds since the epoch.", type: float}
    seconds: {description: How long the submission took., type: float}
left_out:
  description: The listeners on which nothing was submitted.
  type: list
  elements: dict
  returned: always
  contains:
    port: {description: Port., type: int}
    why: {description: Why nothing was submitted there., type: str}
"""

import re
import secrets
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.postroad.relay.plugins.module_utils.direct_ports import direct_listeners, is_loopback
from ansible_collections.postroad.relay.plugins.module_utils.mail_programs import (
    PROGRAMS,
    Probe,
    ProbeFailedError,
    submit,
)

ARGUMENTS: dict[str, Any] = {
    "host": {"type": "str", "required": True},
    "listeners": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {
            "port": {"type": "int", "required": True},
            "tls": {"type": "str", "choices": ["starttls", "implicit", "auto", "none"], "required": True},
            "address": {"type": "str", "default": ""},
            "auth": {"type": "str", "choices": ["required", "optional", "none"], "default": "required"},
            "proxy_from": {"type": "list", "elements": "str", "default": []},
            "web": {"type": "str", "default": ""},
        },
    },
    "programs": {"type": "list", "elements": "str", "choices": list(PROGRAMS), "default": ["smtplib"]},
    "every_program": {"type": "bool", "default": False},
    "first_program": {"type": "int", "default": 0},
    "account": {"type": "str", "required": True},
    "password": {"type": "str", "required": True, "no_log": True},
    "sender": {"type": "str", "required": True},
    "recipient": {"type": "str", "required": True},
    "ca_certificate": {"type": "str", "default": ""},
    "timeout": {"type": "float", "default": 20},
}


WAYS = {"auto": ("implicit", "starttls")}
"""How a listener is submitted to, where that is not its own TLS mode."""


def left_out(listeners: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The listeners that cannot be probed from here, as `port` and `why`."""
    found = []
    for listener in listeners:
        if is_loopback(listener):
            found.append({"port": listener["port"], "why": "only the relay itself can reach it"})
        elif listener["proxy_from"]:
            found.append({"port": listener["port"], "why": "only a balancer may use it (proxy_from)"})
    return found


def plan(params: Mapping[str, Any], ca_file: str) -> list[tuple[str, Probe]]:
    """Which program submits which probe. Raises ValueError for values that cannot be submitted, or no listener."""
    programs = params["programs"]
    ways = [
        (listener, tls)
        for listener in direct_listeners(params["listeners"])
        for tls in WAYS.get(listener["tls"], (listener["tls"],))
    ]
    if not ways:
        why = "; ".join(f"port {each['port']}: {each['why']}" for each in left_out(params["listeners"]))
        raise ValueError(
            f"{params['host']} has no listener that could be probed ({why or 'it has none at all'}); "
            "give it one that mail programs reach themselves"
        )
    chosen: list[tuple[str, Probe]] = []
    for position, (listener, tls) in enumerate(ways):
        turn = programs[(position + params["first_program"]) % len(programs)]
        for program in programs if params["every_program"] else [turn]:
            domain = params["sender"].rpartition("@")[2]
            signs_in = listener["auth"] != "none"
            probe = Probe(
                host=params["host"],
                port=listener["port"],
                tls=tls,
                message_id=f"<probe.{secrets.token_hex(8)}@{domain}>",
                sender=params["sender"],
                recipient=params["recipient"],
                account=params["account"] if signs_in else "",
                password=params["password"] if signs_in else "",
                ca_file=ca_file,
                timeout=params["timeout"],
            )
            chosen.append((program, probe))
    return chosen


def tries(probe: Probe, listeners: Sequence[Mapping[str, Any]]) -> int:
    """How often a probe may be begun. A port that takes both greets whoever is late with TLS, as a busy vantage is."""
    late = probe.tls == "implicit" and any(each["port"] == probe.port and each["tls"] == "auto" for each in listeners)
    return 3 if late else 1


def carry_out(program: str, probe: Probe, directory: Path, attempts: int = 1) -> dict[str, Any]:
    """Submit one probe and describe what became of it; begun anew only where no server has refused it."""
    begun = time.time()
    for attempt in range(attempts):
        own = directory / str(attempt)
        own.mkdir(mode=0o700)
        try:
            reply, begun = submit(program, probe, own, formatdate())
            ok = True
        except ProbeFailedError as error:
            reply, ok = str(error), False
        if ok or re.match(r"[45]\d\d", reply):
            break
    queued = re.search(r"queued as (\w+)", reply, re.I)
    return {
        "host": probe.host,
        "port": probe.port,
        "tls": probe.tls,
        "program": program,
        "message_id": probe.message_id,
        "ok": ok,
        "reply": reply,
        "queue_id": queued[1] if queued else "",
        "submitted": begun,
        "seconds": round(time.time() - begun, 3),
    }


def submit_all(params: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Submit on all ports at once. Raises ValueError for values that cannot be submitted."""
    with tempfile.TemporaryDirectory(prefix="postroad-probe-") as name:
        root = Path(name)
        ca_file = ""
        if params["ca_certificate"]:
            (root / "ca.pem").write_text(params["ca_certificate"], encoding="ascii")
            ca_file = str(root / "ca.pem")
        probes = plan(params, ca_file)
        directories = [root / str(number) for number in range(len(probes))]
        for directory in directories:
            directory.mkdir(mode=0o700)
        with ThreadPoolExecutor(max_workers=16) as pool:
            jobs = [
                pool.submit(carry_out, program, probe, directory, tries(probe, params["listeners"]))
                for (program, probe), directory in zip(probes, directories, strict=True)
            ]
            return [job.result() for job in jobs]


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    if module.check_mode:
        module.exit_json(changed=False, probes=[], left_out=left_out(module.params["listeners"]))
    if not module.params["programs"]:
        module.fail_json(msg="programs: name at least one")
    try:
        probes = submit_all(module.params)
    except ValueError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, probes=probes, left_out=left_out(module.params["listeners"]))


if __name__ == "__main__":
    main()
