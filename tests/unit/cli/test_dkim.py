# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from relay_agent.cli import dkim
from relay_agent.cli.main import main
from relay_agent.config.load import read_config
from relay_agent.control.server import ControlServer
from relay_agent.dkim.keys import Key, render_key
from relay_agent.dkim.published import Finding, Publication
from relay_agent.dkim.store import load_keys


class Dns:
    """What DNS is to say of every key."""

    def __init__(self) -> None:
        self.publication = Publication.MISSING
        self.at_server = Publication.PUBLISHED
        self.resolvers: Sequence[str] = ()

    async def look_up(self, keys: Sequence[Key], resolvers: Sequence[str]) -> list[Finding]:
        self.resolvers = resolvers
        reason = "" if self.publication is Publication.PUBLISHED else "DNS has no TXT record"
        return [Finding(key, self.publication, reason) for key in keys]

    async def look_up_at_servers(self, keys: Sequence[Key], resolvers: Sequence[str]) -> list[Finding]:
        return [Finding(key, self.at_server, "", "ns.test") for key in keys]


@pytest.fixture
def dns(monkeypatch: pytest.MonkeyPatch) -> Dns:
    dns = Dns()
    monkeypatch.setattr(dkim, "look_up", dns.look_up)
    monkeypatch.setattr(dkim, "look_up_at_servers", dns.look_up_at_servers)
    return dns


@pytest.fixture
def run(config: Path, tmp_path: Path, dns: Dns) -> Any:
    with config.open("a") as file:
        file.write(f'\n[dkim]\ndirectory = "{tmp_path}/dkim"\n[delivery]\nresolvers = ["127.0.0.9"]\n')

    def call(*arguments: str) -> int:
        return main(["dkim", *arguments, "--config", str(config)])

    return call


def states(config: Path) -> dict[str, str]:
    return {key.selector: key.state.value for key in load_keys(read_config(config).dkim)}


def aged(config: Path, selector: str, **age: float) -> None:
    """Make a key's state as old as that."""
    dkim_config = read_config(config).dkim
    (key,) = (key for key in load_keys(dkim_config) if key.selector == selector)
    since = datetime.now(UTC) - timedelta(**age)
    (dkim_config.directory / key.domain / f"{selector}.pem").write_bytes(render_key(replace(key, since=since)))


def test_a_key_from_its_beginning_to_its_end(
    run: Any, config: Path, dns: Dns, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("new", "Alpha.test", "--algorithm", "ed25519", "--selector", "one") == 0
    captured = capsys.readouterr()
    assert '\none._domainkey.alpha.test. IN TXT "v=DKIM1; k=ed25519; p=' in captured.out
    assert all(line.startswith((";", "one._domainkey")) for line in captured.out.splitlines())
    assert "relay-agent dkim activate alpha.test" in captured.err

    assert run("activate", "alpha.test") == 1
    assert "nothing was changed" in capsys.readouterr().err
    assert states(config) == {"one": "pending"}
    dns.publication = Publication.PUBLISHED
    assert run("activate", "alpha.test") == 0
    assert dns.resolvers == ("127.0.0.9",)
    captured = capsys.readouterr()
    assert captured.out == "one._domainkey.alpha.test: signs from now on\n"
    assert "no agent is running" in captured.err

    assert run("new", "alpha.test", "--algorithm", "ed25519", "--selector", "two") == 0
    assert run("activate", "alpha.test") == 0
    assert states(config) == {"one": "retired", "two": "active"}
    assert "leave its record in DNS for 12 d" in capsys.readouterr().out

    aged(config, "one", days=11)
    assert run("delete", "alpha.test", "one") == 1
    assert "on its way for another" in capsys.readouterr().err
    aged(config, "one", days=13)
    assert run("delete", "alpha.test", "one") == 0
    assert "take its record out of DNS" in capsys.readouterr().out
    assert run("delete", "alpha.test", "two") == 1
    assert "retire it first" in capsys.readouterr().err
    assert run("retire", "alpha.test", "two") == 0
    assert "mail from alpha.test is not signed any more" in capsys.readouterr().out
    assert run("retire", "alpha.test", "two") == 1
    assert run("delete", "alpha.test", "two", "--force") == 0
    assert states(config) == {}


def test_both_kinds_by_default_and_json(run: Any, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("keys", "--json") == 0
    assert json.loads(capsys.readouterr().out) == []
    assert run("new", "bücher.test", "--json") == 0
    made = json.loads(capsys.readouterr().out)
    assert [(each["domain"], each["algorithm"], each["state"]) for each in made] == [
        ("xn--bcher-kva.test", "rsa-sha256", "pending"),
        ("xn--bcher-kva.test", "ed25519-sha256", "pending"),
    ]
    for each in made:
        assert "".join(each["strings"]) == each["value"]
        assert set(each) & {"private", "key"} == set()
    assert run("record", "bücher.test", "--json") == 0
    assert [each["name"] for each in json.loads(capsys.readouterr().out)] == sorted(each["name"] for each in made)
    assert run("activate", "bücher.test", "--force", "--json") == 0
    assert json.loads(capsys.readouterr().out)["agent"] == "not running"
    assert run("keys") == 0
    assert "PRIVATE" not in capsys.readouterr().out


def test_check_says_whether_dns_has_what_it_needs(run: Any, dns: Dns, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("check") == 0
    assert run("new", "alpha.test", "--algorithm", "ed25519") == 0
    capsys.readouterr()
    assert run("check", "alpha.test") == 1
    assert "DNS has no TXT record" in capsys.readouterr().out
    dns.publication = Publication.PUBLISHED
    assert run("check", "--json") == 0
    assert json.loads(capsys.readouterr().out)["good"] is True


def test_check_everywhere_asks_the_name_servers_too(run: Any, dns: Dns, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("new", "alpha.test", "--algorithm", "ed25519", "--selector", "one") == 0
    capsys.readouterr()
    dns.publication, dns.at_server = Publication.PUBLISHED, Publication.MISSING
    assert run("check", "alpha.test") == 0
    capsys.readouterr()
    assert run("check", "alpha.test", "--everywhere", "--json") == 1
    rows = json.loads(capsys.readouterr().out)["keys"]
    assert [(row["selector"], row["server"], row["dns"]) for row in rows] == [
        ("one", None, "published"),
        ("one", "ns.test", "missing"),
    ]


def give(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put it into standard input."""
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(text.encode())))


def test_a_key_goes_from_one_relay_to_another(
    run: Any, config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("new", "alpha.test", "--algorithm", "ed25519", "--selector", "one") == 0
    assert run("activate", "alpha.test", "--force") == 0
    capsys.readouterr()
    assert run("export", "alpha.test", "one") == 0
    exported = capsys.readouterr().out
    assert "-----BEGIN PRIVATE KEY-----" in exported

    give(exported, monkeypatch)
    assert run("import", "alpha.test", "one") == 0
    assert "is here already" in capsys.readouterr().out
    assert states(config) == {"one": "active"}

    assert run("delete", "alpha.test", "one", "--force") == 0
    capsys.readouterr()
    give(exported, monkeypatch)
    assert run("import", "alpha.test", "one", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"name": "one._domainkey.alpha.test", "added": True}
    assert states(config) == {"one": "pending"}
    assert run("export", "alpha.test", "one") == 0
    assert capsys.readouterr().out.partition("-----")[2] == exported.partition("-----")[2]


def test_what_is_imported_is_looked_at(
    run: Any, config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    give("no key", monkeypatch)
    assert run("import", "alpha.test", "one") == 1
    assert "standard input holds no key" in capsys.readouterr().err
    assert run("new", "alpha.test", "--algorithm", "ed25519", "--selector", "one") == 0
    assert run("new", "beta.test", "--algorithm", "ed25519", "--selector", "one") == 0
    capsys.readouterr()
    assert run("export", "beta.test", "one") == 0
    give(capsys.readouterr().out, monkeypatch)
    assert run("import", "alpha.test", "one") == 1
    assert "is another key here" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("new", "no domain"), "is not a domain"),
        (("new", "alpha.test", "--selector", "../x"), "not a selector"),
        (("new", "alpha.test"), "pending key one already"),
        (("record", "beta.test"), "beta.test has no keys"),
        (("retire", "alpha.test", "two"), "no key with the selector two (it has one)"),
        (("retire", "alpha.test", "one"), "is pending, not active"),
    ],
)
def test_what_cannot_be_done_is_said(
    run: Any, config: Path, arguments: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("new", "alpha.test", "--algorithm", "ed25519", "--selector", "one") == 0
    capsys.readouterr()
    assert run(*arguments) == 1
    assert words in capsys.readouterr().err
    assert states(config) == {"one": "pending"}


def test_nothing_pending_to_activate(run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("new", "alpha.test", "--algorithm", "ed25519", "--selector", "one") == 0
    assert run("activate", "alpha.test", "--force") == 0
    assert run("activate", "alpha.test", "--force") == 1
    assert "has no pending key" in capsys.readouterr().err


def test_a_retired_key_can_sign_again(run: Any, config: Path) -> None:
    assert run("new", "alpha.test", "--algorithm", "ed25519", "--selector", "one") == 0
    assert run("activate", "alpha.test", "--force") == 0
    assert run("retire", "alpha.test", "one") == 0
    assert run("activate", "alpha.test", "one", "--force") == 0
    assert states(config) == {"one": "active"}


async def test_a_running_agent_is_told(run: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[str] = []

    async def reload(arguments: dict[str, Any]) -> None:
        asked.append("dkim.reload")

    server = ControlServer(tmp_path / "control.sock", {"dkim.reload": reload})
    await server.start()
    try:
        assert await asyncio.to_thread(run, "new", "alpha.test", "--algorithm", "ed25519") == 0
        assert await asyncio.to_thread(run, "activate", "alpha.test", "--force", "--json") == 0
    finally:
        await server.close()
    assert asked == ["dkim.reload"]
    assert '"agent": "reloaded"' in capsys.readouterr().out


def test_a_bad_configuration_is_told(run: Any, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config.write_text("nonsense")
    assert run("keys") == 2
    assert "expected TOML" in capsys.readouterr().err
