# SPDX-License-Identifier: GPL-3.0-or-later
"""submit_probe: which program goes to which port, and what it returns when nobody listens."""

import socket
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.postroad.relay.plugins.module_utils.mail_programs import ProbeFailedError
from ansible_collections.postroad.relay.plugins.modules import submit_probe


def listener(port: int, tls: str, **given: Any) -> dict[str, Any]:
    """As Ansible hands it to the module."""
    return {"port": port, "tls": tls, "address": "", "auth": "required", "proxy_from": [], "web": "", **given}


LISTENERS = [
    listener(587, "starttls"),
    listener(465, "implicit", address="::"),
    listener(2525, "none", address="127.0.0.1", auth="none"),
    listener(2526, "none", address="192.0.2.1", auth="none"),
]
ROLE = Path(__file__).resolve().parents[3] / "roles/relay_agent/meta/argument_specs.yml"


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
    given = params(host="127.0.0.1", listeners=[listener(port, "starttls")], programs=["smtplib"])
    [probe] = submit_probe.submit_all(given)
    assert probe["ok"] is False
    assert "refused" in probe["reply"]
    assert probe["queue_id"] == ""
    assert "secret" not in str(probe)


def test_queue_id_is_taken_from_the_reply(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(submit_probe, "submit", lambda *_: ("250 2.0.0 Queued as 06A7", 5.0))
    [(program, probe)] = submit_probe.plan(params(listeners=LISTENERS[:1]), "")
    result = submit_probe.carry_out(program, probe, tmp_path)
    assert (result["ok"], result["queue_id"], result["submitted"]) == (True, "06A7", 5.0)


def test_a_port_that_takes_both_is_tried_both_ways() -> None:
    given = params(listeners=[listener(2525, "auto"), listener(443, "implicit", web="127.0.0.1:880")])
    probes = submit_probe.plan(given, "")
    assert [(program, probe.port, probe.tls) for program, probe in probes] == [
        ("swaks", 2525, "implicit"),
        ("curl", 2525, "starttls"),
        ("swaks", 443, "implicit"),
    ]


def test_who_was_late_with_tls_where_both_are_taken_begins_anew(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    said = ["swaks: wrong version number", "swaks: wrong version number", "250 2.0.0 Queued as 06A7"]
    begun: list[Path] = []

    def submit(program: str, probe: Any, directory: Path, date: str) -> tuple[str, float]:
        begun.append(directory)
        if said[0].startswith("250"):
            return said[0], 5.0
        raise ProbeFailedError(said.pop(0))

    monkeypatch.setattr(submit_probe, "submit", submit)
    listeners = [listener(2525, "auto"), listener(465, "implicit")]
    probes = [probe for _, probe in submit_probe.plan(params(listeners=listeners), "")]
    assert [submit_probe.tries(probe, listeners) for probe in probes] == [3, 1, 1]
    assert submit_probe.carry_out("swaks", probes[0], tmp_path, 3)["ok"]
    assert len(set(begun)) == 3
    # What a server refused is refused.
    said.insert(0, "535 5.7.8 no")
    (tmp_path / "other").mkdir()
    assert submit_probe.carry_out("swaks", probes[0], tmp_path / "other", 3)["reply"] == "535 5.7.8 no"


def test_what_only_a_balancer_or_the_host_itself_may_use_is_left_out_and_told() -> None:
    listeners = [
        listener(587, "starttls"),
        listener(465, "implicit", proxy_from=["192.0.2.0/24"]),
        listener(2525, "none", address="localhost"),
    ]
    assert pairs(listeners=listeners) == [("swaks", 587)]
    told = submit_probe.left_out(listeners)
    assert [each["port"] for each in told] == [465, 2525]
    assert "balancer" in told[0]["why"]
    with pytest.raises(ValueError, match=r"no listener that could be probed \(port 465: only a balancer .*port 2525: "):
        submit_probe.plan(params(listeners=listeners[1:]), "")


def test_every_listener_that_the_role_takes_can_be_given() -> None:
    role = yaml.safe_load(ROLE.read_text())["argument_specs"]["main"]["options"]["relay_agent_listeners"]["options"]
    ours = submit_probe.ARGUMENTS["listeners"]["options"]
    assert ours.keys() == role.keys()
    for name, option in ours.items():
        assert option["type"] == role[name]["type"]
        assert set(option.get("choices", [])) == set(role[name].get("choices", []))


def test_documentation_names_every_option() -> None:
    documented = yaml.safe_load(submit_probe.DOCUMENTATION)["options"]
    assert documented.keys() == submit_probe.ARGUMENTS.keys()
    for name, argument in submit_probe.ARGUMENTS.items():
        assert documented[name].get("default") == argument.get("default"), name
        assert documented[name].get("choices") == argument.get("choices"), name
