# SPDX-License-Identifier: GPL-3.0-or-later
"""When policies are fetched, and how long they hold. DNS and the web are stand-ins here; tests/integration has both."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from relay_agent.delivery.outcome import Deferred
from relay_agent.delivery.resolve import Resolver, UnresolvedError
from relay_agent.delivery.tls.https import Answer, FetchError, HttpsClient
from relay_agent.delivery.tls.policy import Mode, ResultType
from relay_agent.delivery.tls.sts import PolicyKeeper
from relay_agent.delivery.tls.sts_cache import StsCache
from relay_agent.observability.log import EventLog

_DAY = 86_400.0


class Dns(Resolver):
    """Announces the policy `id`; None: nothing; raises `trouble` when there is one."""

    def __init__(self) -> None:
        self.id: str | None = "1"
        self.trouble: UnresolvedError | None = None

    async def texts(self, name: str) -> tuple[str, ...]:
        assert name == "_mta-sts.example.org"
        if self.trouble is not None:
            raise self.trouble
        return (f"v=STSv1; id={self.id}",) if self.id is not None else ()

    async def addresses(self, name: str, *, nothing: object = None) -> tuple[str, ...]:
        assert name == "mta-sts.example.org"
        return ("192.0.2.1",)


class Web(HttpsClient):
    """Answers with `policy`; or raises `trouble`."""

    def __init__(self) -> None:
        super().__init__()
        self.policy = "version: STSv1\nmode: enforce\nmx: mx.example.org\nmax_age: 172800\n"
        self.answer: dict[str, Any] = {}
        self.trouble: FetchError | None = None
        self.asked = 0
        self.go, self.begun = asyncio.Event(), asyncio.Event()
        self.go.set()

    async def request(self, host: str, addresses: tuple[str, ...], path: str, **_: Any) -> Answer:
        assert (host, path) == ("mta-sts.example.org", "/.well-known/mta-sts.txt")
        self.asked += 1
        self.begun.set()
        await self.go.wait()
        if self.trouble is not None:
            raise self.trouble
        return Answer(**{"status": 200, "media": "text/plain", "content": self.policy.encode(), **self.answer})


async def fetched(keeper: PolicyKeeper) -> None:
    """Wait until nothing is being fetched."""
    await asyncio.gather(*keeper._fetching.values())


class Silent(EventLog):
    def event(self, name: str, *, level: str = "info", **fields: object) -> None:
        pass


class Setting:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.dns, self.web, self.now = Dns(), Web(), 1_000_000.0
        self.keeper = self.another()

    def another(self) -> PolicyKeeper:
        """A keeper in another worker, or after a restart."""
        return PolicyKeeper(self.dns, self.web, StsCache(self.directory), Silent(), lambda: self.now)

    async def mode(self) -> Mode | None:
        policy = await self.keeper.find("example.org")
        await fetched(self.keeper)
        return policy.mode if policy is not None else None


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    return Setting(tmp_path / "mta-sts")


async def test_fetched_once_and_kept(setting: Setting) -> None:
    assert await setting.mode() is Mode.ENFORCE
    assert await setting.mode() is Mode.ENFORCE
    setting.keeper = setting.another()
    assert await setting.mode() is Mode.ENFORCE
    assert setting.web.asked == 1


async def test_nothing_announced_nothing_fetched(setting: Setting) -> None:
    setting.dns.id = None
    assert await setting.mode() is None
    assert setting.web.asked == 0


@pytest.mark.parametrize("silence", ["gone", "unanswered"])
async def test_a_policy_holds_though_dns_falls_silent(setting: Setting, silence: str) -> None:
    """An attacker who keeps the record away gets nothing by it, until the policy ends."""
    await setting.mode()
    setting.dns.id = None
    if silence == "unanswered":
        setting.dns.trouble = UnresolvedError(Deferred("4.4.3", "no answer"))
    setting.web.trouble = FetchError("down")
    setting.now += 2 * _DAY - 1
    assert await setting.mode() is Mode.ENFORCE
    setting.now += 2
    assert await setting.mode() is None


async def test_another_id_is_a_new_policy(setting: Setting) -> None:
    await setting.mode()
    setting.dns.id = "2"
    setting.web.policy = setting.web.policy.replace("enforce", "testing")
    assert await setting.mode() is Mode.ENFORCE  # for this mail; the new one is on its way
    assert await setting.mode() is Mode.TESTING
    assert setting.web.asked == 2


async def test_a_failing_fetch_keeps_the_old_and_is_not_repeated_at_once(setting: Setting) -> None:
    await setting.mode()
    setting.dns.id = "2"
    setting.web.trouble = FetchError("down")
    for _ in range(3):
        assert await setting.mode() is Mode.ENFORCE
    assert setting.web.asked == 2
    setting.now += 301
    await setting.mode()
    assert setting.web.asked == 3


async def test_fetched_again_after_a_day(setting: Setting) -> None:
    await setting.mode()
    setting.now += _DAY + 1
    assert await setting.mode() is Mode.ENFORCE
    assert setting.web.asked == 2
    setting.now += 1.5 * _DAY  # beyond the end of what was fetched first
    assert await setting.mode() is Mode.ENFORCE


async def test_two_workers_do_not_both_fetch(setting: Setting) -> None:
    other = setting.another()
    await other.find("example.org")
    await setting.mode()
    setting.dns.id = "2"
    await other.find("example.org")
    await fetched(other)
    await setting.mode()
    assert setting.web.asked == 2


@pytest.mark.parametrize(
    ("answer", "trouble", "result", "words"),
    [
        ({"status": 404}, None, ResultType.STS_FETCH, "HTTP status 404"),
        ({"status": 301}, None, ResultType.STS_FETCH, "HTTP status 301"),
        ({"media": "text/html"}, None, ResultType.STS_INVALID, "text/html"),
        ({"content": b"<p>"}, None, ResultType.STS_INVALID, "without a colon"),
        ({}, FetchError("bad", certificate=True), ResultType.STS_WEBPKI, "bad"),
        ({}, FetchError("down"), ResultType.STS_FETCH, "down"),
    ],
)
async def test_why_there_is_none(
    setting: Setting, answer: dict[str, Any], trouble: FetchError | None, result: ResultType, words: str
) -> None:
    setting.web.answer, setting.web.trouble = answer, trouble
    assert await setting.mode() is None
    found = setting.keeper.trouble("example.org")
    assert found is not None
    assert found.result is result
    assert words in found.text
    setting.dns.id = None
    await setting.mode()
    assert setting.keeper.trouble("example.org") is None


async def test_a_slow_web_host_holds_up_nothing_for_long(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay_agent.delivery.tls.sts._WAIT", 0.01)
    setting.web.go.clear()
    assert await setting.keeper.find("example.org") is None
    setting.web.go.set()
    await fetched(setting.keeper)
    assert await setting.mode() is Mode.ENFORCE


async def test_all_are_kept_fresh_without_any_mail(setting: Setting) -> None:
    await setting.mode()
    setting.keeper = setting.another()
    await setting.keeper.refresh_all()
    assert setting.web.asked == 1
    setting.now += _DAY + 1
    await setting.keeper.refresh_all()
    assert setting.web.asked == 2
    setting.web.trouble = FetchError("down")
    setting.now += 2 * _DAY + 1
    await setting.keeper.refresh_all()
    assert list(StsCache(setting.directory).domains()) == []


async def test_a_full_disk_costs_nothing_but_the_restart(setting: Setting) -> None:
    setting.directory.parent.mkdir(exist_ok=True)
    setting.directory.touch()  # no directory can be made there
    assert await setting.mode() is Mode.ENFORCE
    assert await setting.mode() is Mode.ENFORCE
    assert setting.web.asked == 1


async def test_close_gives_up_what_is_under_way(setting: Setting) -> None:
    setting.web.go.clear()
    finding = asyncio.ensure_future(setting.keeper.find("example.org"))
    await setting.web.begun.wait()
    await setting.keeper.close()
    assert await finding is None
