# SPDX-License-Identifier: GPL-3.0-or-later
"""When reports are written and sent; what they are, and where they go, is in tests/integration."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from relay_agent.delivery.outcome import Deferred
from relay_agent.delivery.resolve import Resolver, UnresolvedError
from relay_agent.delivery.tls import report_send
from relay_agent.delivery.tls.https import HttpsClient
from relay_agent.delivery.tls.policy import RELAXED
from relay_agent.delivery.tls.report import Reporter
from relay_agent.delivery.tls.report_send import ReportSender
from relay_agent.delivery.tls.tally import Applied, DayFiles, Tally
from relay_agent.observability.log import EventLog
from relay_agent.queue.model import Message, QueueFullError

_DAY = 86_400.0
_MIDNIGHT = 1_795_564_800.0  # between 2026-11-24 and 25, UTC


class Dns(Resolver):
    """Every domain wants its reports at the same address; raises `trouble` when there is one."""

    def __init__(self) -> None:
        self.trouble: UnresolvedError | None = None

    async def texts(self, name: str) -> tuple[str, ...]:
        if self.trouble is not None:
            raise self.trouble
        assert name.startswith("_smtp._tls.")
        return () if name.endswith(".silent.example") else ("v=TLSRPTv1; rua=mailto:r@reports.example",)


class Events(EventLog):
    def __init__(self) -> None:
        self.seen: list[str] = []

    def event(self, name: str, *, level: str = "info", **fields: object) -> None:
        self.seen.append(name)


class Setting:
    def __init__(self, directory: Path) -> None:
        self.sent: list[Message] = []
        self.full = False
        self.now = _MIDNIGHT - 3600
        self.dns, self.events, self.files = Dns(), Events(), DayFiles(directory)
        self.sender = ReportSender(
            Reporter("Example", "tls@relay.example", "relay.example"),
            Tally(),
            self.files,
            self.dns,
            HttpsClient(),
            self.submit,
            self.events,
            lambda: self.now,
        )

    async def submit(self, message: Message) -> None:
        if self.full:
            raise QueueFullError("no room")
        self.sent.append(message)

    def count(self, domain: str = "example.org") -> None:
        self.sender.tally.note(Applied(domain, "sts"), None, self.now)


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    return Setting(tmp_path)


async def test_a_day_that_is_over_is_sent_once(setting: Setting) -> None:
    setting.count()
    setting.count("mail.silent.example")
    await setting.sender.flush()
    await setting.sender.send_due()
    assert setting.sent == []
    setting.now += 2 * 3600
    await setting.sender.send_due()
    await setting.sender.send_due()
    (message,) = setting.sent
    assert message.envelope.reverse_path == "tls@relay.example"
    assert message.envelope.account is None
    assert RELAXED in message.envelope.options
    assert message.recipients[0].address == "r@reports.example"
    assert message.recipients[0].options == {"NOTIFY": "NEVER"}
    assert message.expires - message.created == _DAY
    assert setting.files.over(setting.now) == []


@pytest.mark.parametrize("what", ["queue", "dns"])
async def test_what_fails_is_tried_again_for_some_days(setting: Setting, what: str) -> None:
    setting.count()
    await setting.sender.flush()
    setting.now += _DAY
    setting.full = what == "queue"
    setting.dns.trouble = UnresolvedError(Deferred("4.4.3", "no answer")) if what == "dns" else None
    await setting.sender.send_due()
    assert setting.files.over(setting.now) == ["2026-11-24"]
    setting.now += 3 * _DAY
    await setting.sender.send_due()
    assert setting.files.over(setting.now) == []
    assert setting.sent == []


async def test_another_worker_is_at_it(setting: Setting) -> None:
    setting.count()
    await setting.sender.flush()
    setting.now += _DAY
    with setting.files.lock():
        await setting.sender.send_due()
    assert setting.sent == []


async def test_a_disk_that_refuses_is_told(tmp_path: Path) -> None:
    (tmp_path / "reports").touch()
    setting = Setting(tmp_path / "reports")
    setting.count()
    await setting.sender.flush()
    assert setting.events.seen == ["tls_counts_lost"]


async def test_the_round_of_a_day(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    """Written every few minutes; sent not at midnight, when the whole world would, but some time later."""
    asked: list[tuple[float, float]] = []

    def uniform(low: float, high: float) -> float:
        asked.append((low, high))
        return 1800.0

    def fault(day: str) -> set[str]:
        """The disk has a bad moment."""
        monkeypatch.undo()
        monkeypatch.setattr(report_send.asyncio, "sleep", minute)  # type: ignore[attr-defined]
        raise OSError("Input/output error")

    async def minute(seconds: float, _sleep: Any = asyncio.sleep) -> None:
        setting.now += seconds
        await _sleep(0)

    monkeypatch.setattr(report_send.random, "uniform", uniform)  # type: ignore[attr-defined]
    monkeypatch.setattr(report_send.asyncio, "sleep", minute)  # type: ignore[attr-defined]
    setting.count()
    await setting.sender.flush()
    monkeypatch.setattr(setting.files, "done", fault)
    running = asyncio.ensure_future(setting.sender.run())
    async with asyncio.timeout(20):
        while not setting.sent:
            await asyncio.to_thread(lambda: None)
    running.cancel()
    assert "tls_report_fault" in setting.events.seen
    assert asked == [(1200.0, 1200.0 + 3.5 * 3600)]
    assert 1800 + 3600 <= setting.sent[0].created - _MIDNIGHT < 1800 + 3600 + 1200
