# SPDX-License-Identifier: GPL-3.0-or-later
"""``relay-agent certificate``: what it shows, prints and renews."""

from __future__ import annotations

import json
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from relay_agent.certificates import agent_unit
from relay_agent.certificates.chain import key_digest, new_key
from relay_agent.certificates.journal import Renewals, read_renewals, write_renewals
from relay_agent.certificates.pairs import Pairs
from relay_agent.certificates.problem import CertificateError
from relay_agent.certificates.renewal import Outcome, Renewal
from relay_agent.cli.main import main
from tests.unit.certificates.authority import chain_for

NAME = "relay.test"


@pytest.fixture
def pairs(config: Path, tmp_path: Path) -> Pairs:
    directory = tmp_path / "tls"
    directory.mkdir()
    text = config.read_text().replace(
        "[accounts]",
        f"""
        [[listener]]
        port = 465
        tls = "implicit"
        [tls]
        certificate = "{directory}/fullchain.pem"
        key = "{directory}/privkey.pem"
        [submission]
        trusted_networks = ["127.0.0.0/8"]
        [accounts]""",
    )
    config.write_text(text)
    (tmp_path / "certificate.toml").write_text(
        f'names = ["{NAME}"]\ndirectory = "{directory}"\n[acme]\ndirectory_url = "https://acme.invalid/dir"\n'
        'email = "me@example.org"\n'
    )
    return Pairs(directory)


def put_in_use(pairs: Pairs, days: float) -> str:
    """A certificate with so many days left; its key."""
    key = new_key()
    pairs.put_in_use(chain_for(key, NAME, begins=datetime.now(UTC) + timedelta(days=days - 90)), key)
    return key


def run(config: Path, *words: str) -> int:
    settings = config.parent / "certificate.toml"
    return main(["certificate", *words, "--config", str(config), "--settings", str(settings)])


def test_a_good_one(config: Path, pairs: Pairs, capsys: pytest.CaptureFixture[str]) -> None:
    put_in_use(pairs, 60.5)
    write_renewals(pairs.directory, Renewals(looked=5.0, renewed=4.0, seen=1.0, ttl=60))
    assert run(config, "show") == 0
    shown = capsys.readouterr().out
    assert "for: relay.test" in shown
    assert "in 60 d" in shown
    assert "next key: may be used" in shown


@pytest.mark.parametrize(("days", "problem"), [(-1, ""), (60, "the authority is down")])
def test_one_that_is_in_trouble(
    config: Path, pairs: Pairs, capsys: pytest.CaptureFixture[str], days: float, problem: str
) -> None:
    put_in_use(pairs, days)
    write_renewals(pairs.directory, Renewals(looked=5.0, failing=4.0 if problem else 0.0, problem=problem))
    assert run(config, "show") == 1
    shown = capsys.readouterr().out
    assert ("ended: " in shown, "the authority is down" in shown) == (days < 0, bool(problem))
    assert run(config, "show", "--json") == 1
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert (told["good"], told["renewals"]["problem"]) == (False, problem)


def test_records(config: Path, pairs: Pairs, capsys: pytest.CaptureFixture[str]) -> None:
    key = put_in_use(pairs, 60)
    assert run(config, "tlsa", "--ttl", "300") == 0
    following = key_digest(pairs.next_key())
    assert capsys.readouterr().out.splitlines() == [
        "; the key in use",
        f"_465._tcp.relay.test. 300 IN TLSA 3 1 1 {key_digest(key)}",
        "; the key that comes next",
        f"_465._tcp.relay.test. 300 IN TLSA 3 1 1 {following}",
    ]
    assert run(config, "tlsa", "--json") == 0
    assert json.loads(capsys.readouterr().out)["next"] == following


def test_a_renewal_that_comes_to_nothing(
    config: Path, pairs: Pairs, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    put_in_use(pairs, 60)
    monkeypatch.setattr(agent_unit.AgentUnit, "running", lambda _: False)
    monkeypatch.setenv("PATH", str(tmp_path))  # where no lego is
    monkeypatch.setattr("relay_agent.certificates.acme.issue.__defaults__", (tmp_path / "state", None))
    assert run(config, "renew", "--json") == 1
    told = json.loads(capsys.readouterr().out)
    assert (told["changed"], told["usable"]) == (False, True)
    assert told["problems"] == ["lego is not on this host: install the package lego"]


@pytest.mark.parametrize(
    ("outcome", "days", "said"),
    [
        (Outcome(False, "", True), 60, ["nothing is due: the certificate holds until "]),
        (Outcome(True, "it ends", True), 60, ["the new certificate is in use, and holds until "]),
        (
            Outcome(True, "it ends", True, unproved="this host is drained"),
            60,
            [
                "the new certificate is in use, and holds",
                "no port has shown it yet: this host is drained; the next look",
            ],
        ),
        (
            Outcome(False, "it ends", True, ("the authority is down",)),
            60,
            ["FAILED: the authority is down", "the certificate in use stays, and holds until ", "the next look is the"],
        ),
        (
            Outcome(False, "it ends", False, ("the authority is down",)),
            -1,
            ["FAILED: the authority is down", "the certificate in use stays, and ended on ", "the next look is the"],
        ),
        (Outcome(False, "there is none", False, ("no",)), None, ["FAILED: no", "there is no certificate in use"]),
    ],
)
def test_the_units_journal_ends_with_what_is_in_use(
    config: Path,
    pairs: Pairs,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    outcome: Outcome,
    days: float | None,
    said: list[str],
) -> None:
    if days is not None:
        put_in_use(pairs, days)
    monkeypatch.setattr(Renewal, "run", lambda *_, **__: outcome)
    assert run(config, "renew") == (1 if outcome.problems else 0)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(said)
    assert all(line.startswith(beginning) for line, beginning in zip(lines, said, strict=True))
    assert any("mail programs refuse it" in line for line in lines) == (days == -1)


def test_a_drained_relay_has_no_port_to_look_at(config: Path, pairs: Pairs, capsys: pytest.CaptureFixture[str]) -> None:
    put_in_use(pairs, 60)
    write_renewals(pairs.directory, Renewals(looked=5.0, unproved="this host is drained"))
    (config.parent / "drained.json").write_text("{}")
    assert run(config, "prove", "--within", "0") == 0
    assert "is shown nowhere: this host is drained" in capsys.readouterr().out
    assert run(config, "show") == 0
    assert "no port has shown it yet: this host is drained" in capsys.readouterr().out


@pytest.fixture
def shown_at_the_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has the handshakes show whatever is on the disk."""
    monkeypatch.setattr("relay_agent.cli.certificate.prove_ports", lambda ports, fingerprint, within: "")


@pytest.mark.usefixtures("shown_at_the_ports")
def test_what_was_proved_is_said_at_once(config: Path, pairs: Pairs, capsys: pytest.CaptureFixture[str]) -> None:
    put_in_use(pairs, 60)
    write_renewals(pairs.directory, Renewals(looked=5.0, unproved="this host is drained"))
    assert run(config, "show") == 0
    assert "no port has shown it yet" in capsys.readouterr().out
    assert run(config, "prove") == 0
    assert "is shown on: 465" in capsys.readouterr().out
    assert run(config, "show") == 0
    assert "no port has shown it yet" not in capsys.readouterr().out
    assert read_renewals(pairs.directory) == Renewals(looked=5.0)


@pytest.mark.usefixtures("shown_at_the_ports")
@pytest.mark.parametrize(
    ("error", "said"),
    [
        (PermissionError(13, "Permission denied"), ""),
        (TimeoutError("/etc/postroad/tls is locked by another program"), "is locked by another program"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (CertificateError("tls.crt has no certificate"), "tls.crt has no certificate"),
    ],
)
def test_a_proof_that_cannot_be_noted_is_one(
    config: Path,
    pairs: Pairs,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    said: str,
) -> None:
    def fails(*_: object) -> bool:
        raise error

    put_in_use(pairs, 60)
    monkeypatch.setattr("relay_agent.cli.certificate.note_proof", fails)
    assert run(config, "prove", "--json") == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["ports"] == [465]
    assert (said in told.err, bool(told.err)) == (True, bool(said))


def test_ports_that_do_not_show_it(config: Path, pairs: Pairs, capsys: pytest.CaptureFixture[str]) -> None:
    put_in_use(pairs, 60)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config.write_text(config.read_text().replace("465", str(port)))
    unproved = Renewals(looked=5.0, unproved="this host is drained")
    write_renewals(pairs.directory, unproved)
    assert run(config, "prove", "--within", "0") == 1
    assert f"port {port} has no handshake" in capsys.readouterr().err
    assert read_renewals(pairs.directory) == unproved
    config.write_text(config.read_text().replace('tls = "implicit"', 'tls = "none"'))
    assert run(config, "prove", "--json") == 0
    assert json.loads(capsys.readouterr().out)["ports"] == []


def test_without_settings_nothing_is_renewed(config: Path, pairs: Pairs, capsys: pytest.CaptureFixture[str]) -> None:
    put_in_use(pairs, 60)
    (config.parent / "certificate.toml").unlink()
    assert run(config, "renew") == 1
    assert "not renewed here, but by the playbook" in capsys.readouterr().err
    assert run(config, "tlsa") == 0


def test_without_tls(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config.write_text(config.read_text() + '\n[submission]\ntrusted_networks = ["127.0.0.0/8"]\n')
    assert run(config, "show") == 1
    assert "has no certificate" in capsys.readouterr().err


def test_tlsa_makes_no_key_when_only_asked_for_what_there_is(
    config: Path, pairs: Pairs, capsys: pytest.CaptureFixture[str]
) -> None:
    put_in_use(pairs, 60)
    assert run(config, "tlsa", "--existing", "--json") == 0
    assert json.loads(capsys.readouterr().out)["next"] == ""
    assert not pairs.has_next_key()
    assert run(config, "tlsa", "--existing") == 0
    assert "the key that comes next" not in capsys.readouterr().out
    following = key_digest(pairs.next_key())
    assert run(config, "tlsa", "--existing", "--json") == 0
    assert json.loads(capsys.readouterr().out)["next"] == following
