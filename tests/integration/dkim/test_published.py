# SPDX-License-Identifier: GPL-3.0-or-later
"""Records looked up in a real name server."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from relay_agent.dkim import published
from relay_agent.dkim.keys import Algorithm, Key, make_key
from relay_agent.dkim.published import Publication, look_up, look_up_at_servers
from relay_agent.dkim.record import record_text, zone_lines
from tests.integration.delivery.peers import NameServer
from tests.ports import free_port

NOW = datetime(2026, 11, 24, tzinfo=UTC)


@pytest.fixture
def names(tmp_path: Path) -> Iterator[NameServer]:
    server = NameServer(tmp_path / "nsd", free_port())
    yield server
    server.stop()


def key(selector: str, algorithm: Algorithm = Algorithm.ED25519) -> Key:
    return make_key("alpha.test", selector, algorithm, NOW)


async def test_every_way_a_record_can_be(names: NameServer) -> None:
    long, short, cut, twice, elsewhere = key("long", Algorithm.RSA), *map(key, ("short", "cut", "twice", "elsewhere"))
    missing, empty, broken = key("missing"), key("empty"), make_key("broken", "s", Algorithm.ED25519, NOW)
    names.start(
        "\n".join(
            [
                zone_lines(long),
                zone_lines(short),
                f'{cut.name}. TXT "{record_text(cut)[:-8]}"',
                zone_lines(twice),
                f'{twice.name}. TXT "another"',
                f"{elsewhere.name}. CNAME its.provider.test.",
                f'its.provider.test. TXT "{record_text(elsewhere)}"',
                f"{empty.name}. A 127.0.0.1",
            ]
        )
    )
    every = [long, short, elsewhere, cut, twice, missing, empty, broken]
    findings = await look_up(every, [f"127.0.0.1:{names.port}"])
    assert [finding.key for finding in findings] == every
    assert [finding.publication for finding in findings] == [
        *[Publication.PUBLISHED] * 3,
        *[Publication.DIFFERENT] * 2,
        *[Publication.MISSING] * 2,
        Publication.UNKNOWN,
    ]
    assert [finding.reason for finding in findings[:3]] == ["", "", ""]
    assert "does not fit" in findings[3].reason
    assert "has 2 TXT records" in findings[4].reason
    assert "DNS has no TXT record at missing._domainkey.alpha.test" in findings[5].reason


async def test_a_resolver_that_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay_agent.dkim.published._LONGEST", 0.2)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        (finding,) = await look_up([key("s")], [f"127.0.0.1:{silent.getsockname()[1]}"])
    assert (finding.publication, finding.reason) == (Publication.UNKNOWN, "no resolver answered in time")


async def test_each_name_server_of_the_zone_is_asked(names: NameServer, monkeypatch: pytest.MonkeyPatch) -> None:
    here, missing, broken = key("here"), key("missing"), make_key("broken", "s", Algorithm.ED25519, NOW)
    # The zone is test., two labels above the records.
    names.start(zone_lines(here))
    monkeypatch.setattr(published, "_with_port", lambda address: f"{address}:{names.port}")
    findings = await look_up_at_servers([here, missing, broken], [f"127.0.0.1:{names.port}"])
    assert {finding.key: finding.publication for finding in findings} == {
        here: Publication.PUBLISHED,
        missing: Publication.MISSING,
        broken: Publication.UNKNOWN,
    }
    assert "so says name server ns.test" in next(each.reason for each in findings if each.key is missing)


async def test_a_name_server_that_does_not_answer(names: NameServer, monkeypatch: pytest.MonkeyPatch) -> None:
    one = key("one")
    names.start(zone_lines(one))
    closed = free_port()
    monkeypatch.setattr(published, "_with_port", lambda address: f"{address}:{closed}")
    (finding,) = await look_up_at_servers([one], [f"127.0.0.1:{names.port}"])
    assert (finding.publication, finding.server) == (Publication.UNKNOWN, "ns.test")
    assert "ns.test does not answer" in finding.reason
