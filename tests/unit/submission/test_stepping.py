# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands that are stepped in place: when they cost a task, and what becomes of one that fails."""

import asyncio
import io
import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from relay_agent.observability.log import MailLog
from relay_agent.queue.model import Committed
from relay_agent.submission.stepping import Rest, SessionEndedError, Stepping


class Session(Stepping):
    """The least that a session is."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.transport: Any = object()
        self.session: Any = SimpleNamespace(peer=("192.0.2.7", 50_000))
        self.log = io.StringIO()
        self.events = MailLog(self.log)
        self._step_task = None
        self.said: list[str] = []
        self.pumped = 0

    def say(self, reply: str) -> None:
        self.said.append(reply)

    def _pump(self) -> None:
        self.pumped += 1

    def waits(self) -> bool:
        """Whether a command is under way."""
        return self._step_task is not None

    def logged(self) -> list[dict[str, Any]]:
        self.events.flush()  # type: ignore[attr-defined]
        return [json.loads(line) for line in self.log.getvalue().splitlines()]


class Failing(Session):
    """Its hook for failures fails, too."""

    async def handle_exception(self, error: Exception) -> str:
        raise RuntimeError("in the hook")


async def test_a_command_that_waits_for_nothing_costs_no_task() -> None:
    session = Session()

    async def command() -> None:
        session.say("250 OK")

    session._step(command())
    assert (session.said, session._step_task) == (["250 OK"], None)


@pytest.mark.parametrize("ends_well", [True, False])
async def test_a_commit_is_waited_for_without_a_task(ends_well: bool) -> None:
    session = Session()
    commit: Committed = Committed(loop=session.loop)
    before = asyncio.all_tasks()

    async def command() -> None:
        await commit
        session.say("250 kept")

    session._step(command())
    assert session._step_task is commit
    assert asyncio.all_tasks() == before
    if ends_well:
        commit.set_result(None)
    else:
        commit.set_exception(OSError("the disk"))
    await asyncio.sleep(0)
    assert session._step_task is None
    assert session.said == (["250 kept"] if ends_well else ["451 4.3.0 Something went wrong here; try again later"])
    assert session.pumped == 1


async def test_what_really_waits_is_a_task_and_what_came_meanwhile_is_gone_on_with() -> None:
    session = Session()
    gate = asyncio.Event()

    async def command() -> None:
        for _ in range(2):
            await gate.wait()
            gate.clear()
        session.say("235 signed in")

    session._step(command())
    assert isinstance(session._step_task, asyncio.Task)
    for _ in range(2):
        assert session.said == []
        gate.set()
        await asyncio.sleep(0.01)
    assert (session.said, session.pumped) == (["235 signed in"], 1)
    assert not session.waits()


async def test_nothing_is_gone_on_with_once_the_client_is_gone() -> None:
    session = Session()
    gate = asyncio.Event()

    async def command() -> None:
        await gate.wait()
        raise SessionEndedError

    session._step(command())
    session.transport = None
    gate.set()
    await asyncio.sleep(0.01)
    assert (session.said, session._step_task, session.pumped) == ([], None, 0)
    assert session.logged() == []


def at_once() -> None:
    raise ValueError("secret of ours")


@pytest.mark.parametrize("kind", [Session, Failing])
@pytest.mark.parametrize("waits", [False, True])
async def test_a_failure_is_told_to_the_log_and_not_to_the_client(kind: Callable[[], Session], waits: bool) -> None:
    session = kind()

    async def command() -> None:
        if waits:
            await asyncio.sleep(0)
        at_once()

    session._step(command())
    await asyncio.sleep(0.01)
    assert session.said == ["451 4.3.0 Something went wrong here; try again later"]
    (event,) = session.logged()
    assert (event["event"], event["peer"]) == ("command_failed", "192.0.2.7")
    assert event["error"] == ("RuntimeError: in the hook" if kind is Failing else "ValueError: secret of ours")


@pytest.mark.parametrize("peer", [None, "unix", ()])
async def test_a_client_without_an_address_has_none(peer: Any) -> None:
    session = Session()
    session.session = None if peer == () else SimpleNamespace(peer=peer)
    assert session.peer_address == ""


async def test_the_rest_is_told_of_a_cancellation() -> None:
    cancelled = []

    async def command() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    coroutine = command()
    task = asyncio.ensure_future(Rest(coroutine, coroutine.send(None)).finish())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cancelled == [True]
