# SPDX-License-Identifier: GPL-3.0-or-later
"""The tries of a whole fleet from one host."""

from __future__ import annotations

import socket
import sys

import pytest

from relay_agent.probe import vantage
from relay_agent.probe.tries import SurveyError


@pytest.fixture
def closed() -> int:
    """A port of this machine at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def test_every_relay_has_its_tries_or_the_reason(closed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def look(host: str) -> tuple[tuple[str, str], ...]:
        if host == "relay2.test":
            raise SurveyError("relay2.test: no address is known for this name")
        return (("ipv4", "127.0.0.1"),)

    monkeypatch.setattr(vantage, "addresses", look)
    relays = [{"name": f"relay{number}", "host": f"relay{number}.test", "ports": [closed]} for number in (1, 2)]
    found = vantage.run({"relays": relays, "authorities": "", "within": 2})
    assert found["python"].startswith(f"{sys.version_info.major}.{sys.version_info.minor}.")
    assert [(each["port"], each["mode"], each["end"]) for each in found["relays"]["relay1"]["attempts"]] == [
        (closed, "greeting", "refused"),
        (closed, "tls", "refused"),
    ]
    assert found["relays"]["relay2"] == {"problem": "relay2.test: no address is known for this name"}


def test_authorities_that_are_none_are_told_for_each_relay() -> None:
    relays = [{"name": "relay1", "host": "relay.test", "ports": [1]}]
    found = vantage.run({"relays": relays, "authorities": "nonsense", "within": 2})
    assert "no certificates (PEM)" in found["relays"]["relay1"]["problem"]
