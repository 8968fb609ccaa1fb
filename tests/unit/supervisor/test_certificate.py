# SPDX-License-Identifier: GPL-3.0-or-later
"""What log and status say of a certificate's end and its renewals."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from relay_agent.certificates.chain import new_key
from relay_agent.certificates.journal import Renewals, write_renewals
from relay_agent.config.load import parse_config
from relay_agent.observability.log import EventLog
from relay_agent.supervisor.certificate import CertificateWatch
from tests.unit.certificates.authority import chain_for

DAY = 86400.0
_LISTENER = 'hostname = "relay.example.org"\n[[listener]]\nport = 587\ntls = "{}"\nauth = "{}"\n'


class Log(EventLog):
    def __init__(self) -> None:
        self.seen: list[str] = []

    def event(self, name: str, *, level: str = "info", **fields: object) -> None:
        self.seen.append(f"{level} {name}")


@pytest.fixture
def log() -> Log:
    return Log()


def watch(directory: Path, log: Log, days: float) -> CertificateWatch:
    """Of a certificate with so many days left."""
    begins = datetime.now(UTC) + timedelta(days=days - 90)
    (directory / "chain.pem").write_text(chain_for(new_key(), "relay.example.org", begins=begins))
    tls = f'[tls]\ncertificate = "{directory}/chain.pem"\nkey = "{directory}/key.pem"\n'
    return CertificateWatch(parse_config(_LISTENER.format("starttls", "required") + tls, "agent.toml"), log)


def test_enough_days_left(tmp_path: Path, log: Log) -> None:
    watched = watch(tmp_path, log, 21.1)
    watched.look(time.time())
    assert log.seen == []
    status = watched.status()
    assert status == {"expires": watched.expiry, "soon": False}


def test_the_log_is_told_once_a_day(tmp_path: Path, log: Log) -> None:
    watched, now = watch(tmp_path, log, 20.9), time.time()
    for hours in (0, 1, 23, 24, 25):
        watched.look(now + hours * 3600)
    assert log.seen == ["warning certificate_expires"] * 2
    status = watched.status()
    assert status is not None
    assert status["soon"]


def test_a_reload_does_not_tell_again(tmp_path: Path, log: Log) -> None:
    before, now = watch(tmp_path, log, 5), time.time()
    before.look(now)
    after = watch(tmp_path, log, 5)
    after.restore(before.export())
    after.look(now + 60)
    assert log.seen == ["warning certificate_expires"]


def test_the_end_itself_is_told_at_once(tmp_path: Path, log: Log) -> None:
    watched, now = watch(tmp_path, log, 0.5), time.time()
    watched.look(now)
    watched.look(now + 0.6 * DAY)
    assert log.seen == ["warning certificate_expires", "error certificate_expired"]


def test_renewals_that_fail(tmp_path: Path, log: Log) -> None:
    watched, now = watch(tmp_path, log, 29), time.time()
    write_renewals(tmp_path, Renewals(looked=now, failing=now - 7200, problem="down", seen=now, ttl=60))
    watched.look(now)
    assert log.seen == ["warning certificate_renewal_fails"]
    status = watched.status()
    assert status is not None
    assert status["renewal"]["problem"] == "down"
    assert 0 < status["renewal"]["next_key_in"] <= 60


async def test_it_looks_by_itself(tmp_path: Path, log: Log) -> None:
    watched = watch(tmp_path, log, -1)
    watched.start()
    await asyncio.sleep(0)
    await watched.close()
    assert log.seen == ["error certificate_expired"]


def test_without_tls_there_is_nothing_to_tell(log: Log) -> None:
    text = _LISTENER.format("none", "none") + '[submission]\ntrusted_networks = ["127.0.0.0/8"]\n'
    watched = CertificateWatch(parse_config(text, "agent.toml"), log)
    watched.look(time.time())
    assert (watched.status(), watched.renewals(), log.seen) == (None, None, [])
