# SPDX-License-Identifier: GPL-3.0-or-later
"""Reloads, with a replacement that does as the test says; tests/integration/agent/test_process.py has real ones."""

import asyncio
import json
from collections.abc import Coroutine
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from relay_agent.observability.log import MailLog
from relay_agent.supervisor import reload as reload_module
from relay_agent.supervisor.reload import Reload, read_anew
from relay_agent.supervisor.settings import Settings


class Agent:
    """What a reload is part of. problems: what each check finds. replaced: what comes of a replacement."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, settings_problems: tuple[str, ...] = ()) -> None:
        self.stop, self.complete = asyncio.Event(), asyncio.Event()
        self.complete.set()
        self.waiting = ""
        self.log = MailLog()
        self.problems: list[list[str]] = []
        self.replaced = ""
        self.replacements = 0
        self.told: list[str] = []
        self.tasks: list[asyncio.Task[Any]] = []
        self.meanwhile: asyncio.Event | None = None  # until it is set, a check is not over
        monkeypatch.setattr(reload_module, "check_release", self._check)
        monkeypatch.setattr(reload_module, "changed_beyond_reload", lambda settings: [])
        monkeypatch.setattr(reload_module, "notify", lambda *words: self.told.append(words[-1]))
        monkeypatch.setattr(reload_module, "notify_reloading", lambda: self.told.append("RELOADING"))
        settings = SimpleNamespace(path=Path("/agent.toml"), problems=list(settings_problems))
        self.reload = Reload(
            cast(Settings, settings),
            self.log,
            stop=self.stop,
            complete=self.complete,
            waiting=lambda: self.waiting,
            spawn_task=self._spawn,
            replace=self._replace,
        )

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        self.tasks.append(asyncio.ensure_future(work))

    async def _check(self, path: Path, *, changed: bool) -> list[str]:
        assert not changed
        if self.meanwhile is not None:
            await self.meanwhile.wait()
        return self.problems.pop(0) if self.problems else []

    async def _replace(self) -> str:
        self.replacements += 1
        return self.replaced

    async def quiet(self) -> None:
        while any(not task.done() for task in self.tasks):
            await asyncio.gather(*self.tasks)


def events(log: MailLog, capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    log.flush()
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


async def test_who_asked_is_answered_before_the_program_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    agent = Agent(monkeypatch)
    assert await agent.reload.ask() is None
    assert (agent.replacements, agent.reload.under_way) == (0, True)
    await agent.quiet()
    assert agent.replacements == 1
    assert agent.told == ["RELOADING"]


async def test_a_bad_configuration_keeps_everything_as_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    agent = Agent(monkeypatch)
    agent.problems = [["agent.toml: hostname: missing", "agent.toml: tls: missing"]]
    assert await agent.reload.ask() == "agent.toml: hostname: missing\nagent.toml: tls: missing"
    await agent.quiet()
    assert (agent.replacements, agent.reload.under_way) == (0, False)
    assert agent.reload.told() == {
        "done": 0,
        "refused": 1,
        "problems": ["agent.toml: hostname: missing", "agent.toml: tls: missing"],
    }
    assert agent.told[-1] == "STATUS=Running with the previous configuration: the new one has problems"
    (event,) = events(agent.log, capsys)
    assert (event["event"], event["problems"][0]) == ("reload_refused", "agent.toml: hostname: missing")


async def test_asked_for_during_a_check_it_is_done_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    # Somebody mends the file while the broken one is looked at.
    agent = Agent(monkeypatch)
    agent.problems = [["bad"]]
    agent.meanwhile = asyncio.Event()
    first = asyncio.ensure_future(agent.reload.ask())
    await asyncio.sleep(0)
    assert await agent.reload.ask() is None
    agent.meanwhile.set()
    assert await first == "bad"
    await agent.quiet()
    assert agent.replacements == 1


async def test_a_release_that_cannot_be_started_is_told_and_another_reload_is_possible(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    agent = Agent(monkeypatch)
    agent.replaced = "cannot start the current release: no such file"
    await agent.reload.ask()
    await agent.quiet()
    assert not agent.reload.under_way
    assert agent.reload.told()["problems"] == ["cannot start the current release: no such file"]
    assert agent.told[-1] == "STATUS=Running as before: the current release cannot be started"
    agent.replaced = ""
    assert await agent.reload.ask() is None
    await agent.quiet()
    assert agent.replacements == 2


async def test_asked_for_while_a_release_cannot_be_started_it_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    agent = Agent(monkeypatch)
    agent.replaced = "cannot start"
    await agent.reload.ask()
    await agent.reload.ask()
    await agent.quiet()
    assert agent.replacements == 2
    assert not agent.reload.under_way
    assert agent.reload.told()["refused"] == 2


async def test_an_agent_that_stops_meanwhile_refuses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    agent = Agent(monkeypatch)
    await agent.reload.ask()
    await agent.quiet()
    assert agent.reload.told() == {"done": 0, "refused": 0, "problems": []}
    agent.stop.set()
    assert await agent.reload.ask() == "the agent is stopping"


async def test_before_all_workers_are_there_it_waits_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    agent = Agent(monkeypatch)
    agent.complete.clear()
    assert await agent.reload.ask() is None
    agent.waiting = "no room on the disk"
    assert await agent.reload.ask() == (
        "the reload is done when the workers have started, and they wait: no room on the disk"
    )
    assert agent.told == []
    agent.complete.set()
    agent.reload.ask_if_wanted()
    await agent.quiet()
    agent.reload.ask_if_wanted()
    assert agent.replacements == 1


async def test_new_workers_that_do_not_start_count_once(monkeypatch: pytest.MonkeyPatch) -> None:
    agent = Agent(monkeypatch)
    agent.reload.restore({"done": 4, "refused": 1})
    for problem in ("the new workers wait: no room", "the new workers do not start: no such module"):
        agent.reload.stuck(problem)
    assert agent.reload.told() == {
        "done": 4,
        "refused": 2,
        "problems": ["the new workers do not start: no such module"],
    }
    agent.reload.replaced(accounts=3)
    assert agent.reload.told() == {"done": 5, "refused": 2, "problems": []}
    assert json.loads(json.dumps(agent.reload.export())) == {"done": 5, "refused": 2}


async def test_a_program_that_goes_by_the_earlier_settings_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    agent = Agent(monkeypatch, settings_problems=("agent.toml: queue: is changed by a restart only",))
    agent.reload.replaced(accounts=3)
    assert agent.reload.told()["problems"] == ["agent.toml: queue: is changed by a restart only"]
    assert [event["event"] for event in events(agent.log, capsys)] == ["reload_refused"]


class Channel:
    """Of a worker that gives this answer."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.asked: list[str] = []

    async def call(self, command: str) -> Any:
        self.asked.append(command)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.mark.parametrize(
    ("answers", "told"),
    [([None, None], None), ([None, ["anna: twice", "b: bad"]], "anna: twice\nb: bad"), ([OSError(), None], None)],
)
async def test_all_workers_that_take_mail_read_anew(
    capsys: pytest.CaptureFixture[str], answers: list[Any], told: str | None
) -> None:
    channels = [Channel(answer) for answer in [*answers, ["not ready"]]]
    workers = [SimpleNamespace(ready=place < len(answers), channel=channel) for place, channel in enumerate(channels)]
    log = MailLog()
    assert await read_anew("accounts", cast(Any, workers), log) == told
    assert [channel.asked for channel in channels] == [["accounts.reload"], ["accounts.reload"], []]
    (event,) = events(log, capsys)
    assert event["event"] == ("accounts_reloaded" if told is None else "reload_refused")
