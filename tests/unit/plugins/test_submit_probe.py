# SPDX-License-Identifier: GPL-3.0-or-later
"""submit_probe: which program goes to which port, and what it returns when nobody listens."""

import socket
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.postroad.relay.plugins.modules import submit_probe

LISTENERS = [
    {"port": 587, "tls": "starttls", "address": "", "auth": "required"},
    {"port": 465, "tls": "implicit", "address": "::", "auth": "required"},
    {"port": 2525, "tls": "none", "address": "127.0.0.1", "auth": "none"},
    {"port": 2526, "tls": "none", "address": "192.0.2.1", "auth": "none"},
]


def params(**changes: object) -> dict[str, Any]:
    return {
        "host": "relay.example.org",
        "listeners": LISTENERS,
        "programs": ["swaks", "curl"],
        "every_program": False,
        "first_program": 0,
        "account": "alice",
        "password": "secret",
        "sender": "a@alpha.test",
        "recipient": "b@beta.test",
        "ca_certificate": "",
        "timeout": 2.0,
        **changes,
    }


def pairs(**changes: object) -> list[tuple[str, int]]:
    return [(program, probe.port) for program, probe in submit_probe.plan(params(**changes), "")]


def test_programs_take_turns_and_loopback_is_left_out() -> None:
    assert pairs() == [("swaks", 587), ("curl", 465), ("swaks", 2526)]
    assert pairs(first_program=1) == [("curl", 587), ("swaks", 465), ("curl", 2526)]


def test_every_program_on_every_port() -> None:
    assert len(pairs(every_program=True)) == 6


def test_no_sign_in_where_the_port_wants_none() -> None:
    probes = [probe for _, probe in submit_probe.plan(params(), "/ca.pem")]
    assert [probe.account for probe in probes] == ["alice", "alice", ""]
    assert probes[0].ca_file == "/ca.pem"
    assert len({probe.message_id for probe in probes}) == 3
    assert all(probe.message_id.endswith("@alpha.test>") for probe in probes)


def test_refused_connection_is_a_result_not_an_error() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    listeners = [{"port": port, "tls": "starttls", "address": "", "auth": "required"}]
    [probe] = submit_probe.submit_all(params(host="127.0.0.1", listeners=listeners, programs=["smtplib"]))
    assert probe["ok"] is False
    assert "refused" in probe["reply"]
    assert probe["queue_id"] == ""
    assert "secret" not in str(probe)


def test_queue_id_is_taken_from_the_reply(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(submit_probe, "submit", lambda *_: ("250 2.0.0 Queued as 06A7", 5.0))
    [(program, probe)] = submit_probe.plan(params(listeners=LISTENERS[:1]), "")
    result = submit_probe.carry_out(program, probe, tmp_path)
    assert (result["ok"], result["queue_id"], result["submitted"]) == (True, "06A7", 5.0)


def test_documentation_names_every_option() -> None:
    documented = yaml.safe_load(submit_probe.DOCUMENTATION)["options"]
    assert documented.keys() == submit_probe.ARGUMENTS.keys()
    for name, argument in submit_probe.ARGUMENTS.items():
        assert documented[name].get("default") == argument.get("default"), name
        assert documented[name].get("choices") == argument.get("choices"), name
