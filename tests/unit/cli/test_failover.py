# SPDX-License-Identifier: GPL-3.0-or-later
"""``relay-agent failover``: what it shows, and coming and going."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dns.rcode
import pytest

from relay_agent.cli import failover
from relay_agent.cli.main import main
from relay_agent.failover.address_list import AddressList
from tests.unit.failover.conftest import SETTINGS
from tests.unit.zone_server import KEY, KEY_NAME, ZoneServer

NAME, MARK = "mail.example.org.", "_drained.mail.example.org."


@pytest.fixture
def zone() -> Iterator[ZoneServer]:
    server = ZoneServer()
    server.put(NAME, "A", "192.0.2.1", "192.0.2.2", ttl=30)
    server.put(NAME, "AAAA", "2001:db8::1", "2001:db8::2", ttl=30)
    yield server
    server.close()


@pytest.fixture
def run(zone: ZoneServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    path = tmp_path / "failover.toml"
    path.write_text(SETTINGS.format(port=zone.port, key_name=KEY_NAME, key=KEY))
    addresses = ("192.0.2.1", "2001:db8::1", "192.0.2.2", "2001:db8::2")
    monkeypatch.setattr(failover, "answers", lambda _: dict.fromkeys(addresses, True))
    return lambda *words: main(["failover", *words, "--settings", str(path)])


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    return waits


def test_show(run: Any, zone: ZoneServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("show") == 0
    text = capsys.readouterr().out
    assert "mail.example.org, remembered by resolvers for 30 s" in text
    assert "relay2.example.org  2001:db8::2  in the list  answers" in text
    zone.put(NAME, "A", "192.0.2.1")
    assert run("show", "--json") == 1
    rows = json.loads(capsys.readouterr().out)["relays"]
    assert [row["address"] for row in rows if not row["listed"]] == ["192.0.2.2"]


def test_who_is_held_out_is_as_it_should_be(run: Any, zone: ZoneServer, capsys: pytest.CaptureFixture[str]) -> None:
    zone.put(NAME, "A", "192.0.2.1")
    zone.put(NAME, "AAAA", "2001:db8::1")
    zone.put(MARK, "TXT", '"relay2.example.org"')
    assert run("show") == 0
    assert "held out (drained)" in capsys.readouterr().out


def test_leave_waits_for_resolvers_and_join_lets_it_back(
    run: Any, zone: ZoneServer, slept: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("leave", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"changed": True, "waited": 30, "last": []}
    assert slept == [30]
    assert zone.at(NAME, "A") == {"192.0.2.2"}
    assert run("leave", "--json") == 0
    assert json.loads(capsys.readouterr().out)["changed"] is False
    assert slept == [30]
    assert run("join") == 0
    assert zone.at(MARK, "TXT") == set()
    assert zone.at(NAME, "A") == {"192.0.2.2"}, "the others put it back, when it answers them"
    capsys.readouterr()
    assert run("join", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"changed": False}


def test_only_looked_at(run: Any, zone: ZoneServer, slept: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    assert run("leave", "--check", "--json") == 0
    assert json.loads(capsys.readouterr().out)["changed"] is True
    zone.put(MARK, "TXT", '"relay1.example.org"')
    assert run("join", "--check", "--json") == 0
    assert json.loads(capsys.readouterr().out)["changed"] is True
    assert zone.updates == []
    assert slept == []


def test_the_last_one_stays_and_nobody_waits(
    run: Any, zone: ZoneServer, slept: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    zone.put(NAME, "A", "192.0.2.1", ttl=30)
    zone.put(NAME, "AAAA", "2001:db8::1", ttl=30)
    assert run("leave") == 0
    assert "the last of the list" in capsys.readouterr().err
    assert zone.at(NAME, "A") == {"192.0.2.1"}
    assert slept == []
    assert run("leave", "--json") == 0
    assert json.loads(capsys.readouterr().out)["changed"] is False


def test_others_change_the_list_meanwhile(
    run: Any, slept: list[float], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hold = AddressList.hold
    tries: list[bool] = []

    def at_the_third(self: AddressList, *arguments: Any) -> bool:
        tries.append(len(tries) == 2 and hold(self, *arguments))
        return tries[-1]

    monkeypatch.setattr(AddressList, "hold", at_the_third)
    assert run("leave", "--no-wait") == 0
    assert tries == [False, False, True]
    monkeypatch.setattr(AddressList, "release", lambda *_: False)
    assert run("join") == 1
    assert "changed by others each time" in capsys.readouterr().err


def test_a_name_server_that_refuses(run: Any, zone: ZoneServer, capsys: pytest.CaptureFixture[str]) -> None:
    zone.rcode = dns.rcode.REFUSED
    for words in (("show",), ("leave",), ("join",)):
        assert run(*words) == 1
        error = capsys.readouterr().err
        assert "refuses to answer (REFUSED)" in error
        assert KEY not in error


def test_bad_settings_end_the_service_for_good(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "failover.toml"
    path.write_text("service = 1")
    assert main(["failover", "watch", "--settings", str(path)]) == 2
    assert str(path) in capsys.readouterr().err
