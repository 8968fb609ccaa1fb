# SPDX-License-Identifier: GPL-3.0-or-later
"""How many workers there are, with workers that are not processes: they answer, refuse and end as the test says."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import Mock

import pytest

from relay_agent.control.protocol import FAILED, WAITS, ControlError
from relay_agent.observability.log import MailLog
from relay_agent.supervisor import staff
from relay_agent.supervisor.channel import ChannelClosedError
from relay_agent.supervisor.crew import WorkerProcess
from relay_agent.supervisor.staff import Staff
from relay_agent.supervisor.stores import Stores


class Wire:
    """A worker's channel."""

    def __init__(self, answer: dict[str, Any] | Exception) -> None:
        self.answer = answer
        self.notices: list[str] = []

    async def call(self, command: str, **arguments: Any) -> Any:
        assert command == "start"
        if isinstance(self.answer, Exception):
            raise self.answer
        return {**self.answer, "store": arguments["store"]}

    def notice(self, command: str) -> None:
        self.notices.append(command)


class Yard:
    """Where the workers come from; what each will say is in `answers`, the last one again and again."""

    def __init__(self, tmp_path: Path, wanted: int = 2) -> None:
        self.workers: list[WorkerProcess] = []
        self.answers: list[dict[str, Any] | Exception] = [{"accounts": 3}]
        self.spawned = 0
        self.problems: list[str] = []
        self.lacks: list[str] = []
        self.killed: list[WorkerProcess] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.stop = asyncio.Event()
        board = SimpleNamespace(fd=9, leave=lambda serial: None)
        shared = SimpleNamespace(for_worker=dict, forget=lambda worker: None)
        self.staff = Staff(
            cast("Any", self),
            Stores(tmp_path, cast("Any", self)),
            cast("Any", shared),
            cast("Any", board),
            MailLog(),
            settings=cast("Any", SimpleNamespace(workers=wanted, text="", path=tmp_path)),
            listening=([7], [[7]]),
            stop=self.stop,
            spawn_task=self._task,
            failed=self.problems.append,
            waits=self.lacks.append,
        )

    def _task(self, work: Coroutine[Any, Any, None]) -> None:
        self.tasks.append(asyncio.ensure_future(work))

    def spawn(self, store: int, descriptors: list[int]) -> WorkerProcess:
        assert descriptors == [7, 9]
        return self.add(self.answers.pop(0) if len(self.answers) > 1 else self.answers[0], store)

    def add(self, answer: dict[str, Any] | Exception, store: int, **state: Any) -> WorkerProcess:
        self.spawned += 1
        worker = WorkerProcess(self.spawned, 1000 + self.spawned, cast("Any", Wire(answer)), {store}, 0.0, **state)
        self.workers.append(worker)
        return worker

    def kill(self, workers: list[WorkerProcess]) -> None:
        self.killed += workers

    def end(self, worker: WorkerProcess, status: int) -> None:
        self.workers.remove(worker)
        self.staff.gone(worker, status)

    async def settle(self) -> None:
        await asyncio.gather(*self.tasks)


@pytest.fixture
def yard(tmp_path: Path) -> Callable[[], Yard]:
    return lambda: Yard(tmp_path)


def notices(worker: WorkerProcess) -> list[str]:
    return cast("Wire", worker.channel).notices


async def test_all_take_mail_each_with_a_store_of_its_own(yard: Callable[[], Yard]) -> None:
    here = yard()
    here.staff.top_up()
    assert not here.staff.complete.is_set()
    await here.settle()
    assert here.staff.complete.is_set()
    assert here.staff.accounts == 3
    assert [worker.stores for worker in here.workers] == [{0}, {1}]


async def test_one_that_is_killed_is_replaced_at_once(yard: Callable[[], Yard]) -> None:
    here = yard()
    here.staff.top_up()
    await here.settle()
    here.workers[0].since -= 60
    here.end(here.workers[0], -9)
    assert here.spawned == 3


async def test_one_that_keeps_ending_by_itself_is_waited_for(yard: Callable[[], Yard]) -> None:
    here = yard()
    here.staff.top_up()
    await here.settle()
    here.end(here.workers[0], 1)
    assert here.spawned == 2
    await asyncio.sleep(0.3)
    assert here.spawned == 3


async def test_those_of_a_replaced_program_go_when_all_new_ones_take_mail(yard: Callable[[], Yard]) -> None:
    here = yard()
    ready = here.add({}, 0, old=True, ready=True)
    never = here.add({}, 1, old=True)
    here.staff.top_up()
    assert notices(ready) == []
    await here.settle()
    assert notices(ready) == ["replaced"]
    assert notices(never) == ["stop"]
    here.end(ready, 0)
    assert here.spawned == 4


async def test_of_many_replaced_programs_the_oldest_end(yard: Callable[[], Yard]) -> None:
    here = yard()
    old = [here.add({}, number, old=True, ready=True) for number in range(10)]
    here.staff.top_up()
    await here.settle()
    assert [notices(worker) for worker in old] == [["replaced", "stop"]] * 2 + [["replaced"]] * 8


async def test_one_that_cannot_start_is_told_of_until_all_are_there(yard: Callable[[], Yard]) -> None:
    here = yard()
    here.answers = [{"accounts": 3}, ControlError(FAILED, "the store is damaged")]
    here.staff.top_up()
    await here.settle()
    assert here.problems == ["the store is damaged"]
    assert not here.staff.complete.is_set()


async def test_one_that_is_killed_while_it_starts_is_replaced(yard: Callable[[], Yard]) -> None:
    """By want of memory, say: no reason to end the agent before its first worker takes mail."""
    here = yard()
    here.answers = [ChannelClosedError(), {"accounts": 3}]
    here.staff.top_up()
    await here.settle()
    here.end(here.workers[0], -9)
    await asyncio.sleep(0.3)
    await here.settle()
    assert here.problems == []
    assert here.staff.complete.is_set()


async def test_one_that_ends_without_a_word_while_it_starts_is_told_of(yard: Callable[[], Yard]) -> None:
    here = yard()
    here.answers = [ChannelClosedError()]
    here.staff.top_up()
    await here.settle()
    assert here.problems == []
    here.end(here.workers[0], 1)
    await here.settle()
    assert here.problems == ["a worker ended with status 1 before it took mail, and did not say why"]


@pytest.mark.parametrize(("status", "most"), [(-11, 1), (-9, staff._MOST_KILLED + 1)])
async def test_one_that_dies_again_and_again_while_it_starts_is_told_of(
    yard: Callable[[], Yard], monkeypatch: pytest.MonkeyPatch, status: int, most: int
) -> None:
    """A fault of ours at once; a kill, for want of memory, when it is not the first."""
    here = yard()
    here.answers = [ChannelClosedError()]
    monkeypatch.setattr(here.staff, "_top_up_later", here.staff.top_up)
    here.staff.top_up()
    for time in range(most):
        await here.settle()
        assert here.problems == []
        here.workers[0].since -= 60
        here.end(here.workers[0], status)
        assert here.spawned == 3 + time
    await here.settle()
    assert here.problems == [
        f"a worker ended with {'SIGSEGV' if status == -11 else 'SIGKILL'} before it took mail, and did not say why"
    ]


async def test_one_that_is_killed_while_it_starts_is_not_replaced_in_no_time(yard: Callable[[], Yard]) -> None:
    here = yard()
    here.answers = [ChannelClosedError()]
    here.staff.top_up()
    await here.settle()
    here.workers[0].since -= 60
    here.end(here.workers[0], -9)
    assert here.spawned == 2


async def test_what_one_said_before_it_ended_is_told_once(yard: Callable[[], Yard]) -> None:
    here = yard()
    here.answers = [{"accounts": 3}, ControlError(FAILED, "the store is damaged")]
    here.staff.top_up()
    await here.settle()
    here.end(here.workers[1], 1)
    await here.settle()
    assert here.problems == ["the store is damaged"]


async def test_one_that_waits_for_room_is_tried_again_until_there_is_some(yard: Callable[[], Yard]) -> None:
    """It is no failure, and no reason to end the agent."""
    here = yard()
    here.answers = [{"accounts": 3}, ControlError(WAITS, "no room"), {"accounts": 3}]
    here.staff.top_up()
    await here.settle()
    assert (here.problems, here.lacks, here.staff.waiting) == ([], ["no room"], "no room")
    assert not here.staff.complete.is_set()
    here.end(here.workers[1], 1)
    await asyncio.sleep(0.3)
    await here.settle()
    assert here.staff.complete.is_set()
    assert (here.lacks, here.staff.waiting) == (["no room", ""], "")


async def test_what_is_lacking_for_long_is_said_to_need_a_person(
    yard: Callable[[], Yard], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is tried again all the same, and told in the log once, not with each attempt."""
    here = yard()
    told = Mock()
    monkeypatch.setattr(here.staff._log, "event", told)
    here.answers = [{"accounts": 3}, *(ControlError(WAITS, f"only {n} MB left") for n in range(4)), {"accounts": 3}]
    here.staff.top_up()
    await here.settle()
    assert here.lacks == ["only 0 MB left"]
    monkeypatch.setattr(staff, "_SHOULD_PASS_WITHIN", 0.0)
    for _ in range(4):
        here.end(here.workers[-1], 1)
        here.staff.top_up()
        await here.settle()
    assert [each[:21] for each in here.lacks] == [
        "only 0 MB left",
        *(f"only {n} MB left (since" for n in (1, 2, 3)),
        "",
    ]
    assert "does not look as if it passed by itself" in here.lacks[1]
    assert here.staff.complete.is_set()
    assert here.staff.waiting == ""
    assert here.problems == []
    events = [each.args[0] for each in told.call_args_list]
    assert (events.count("worker_waits_long"), events.count("worker_not_started")) == (1, 4)


async def test_room_is_looked_for_however_long_there_was_none(
    yard: Callable[[], Yard], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = yard()
    here.answers = [ControlError(WAITS, "no room")]
    delays: list[float] = []
    monkeypatch.setattr(asyncio.get_running_loop(), "call_later", lambda delay, *_: delays.append(delay))
    here.staff.top_up()
    await here.settle()
    delays.clear()
    for _ in range(3000):  # some hours
        here.staff.gone(here.workers[0], 1)
    assert delays[:3] == [0.2, 0.4, 0.8]
    assert max(delays) == delays[-1] == 10.0


async def test_one_that_cannot_start_and_does_not_end_is_killed(
    yard: Callable[[], Yard], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or it would keep its place, and its store, for good."""
    monkeypatch.setattr(staff, "_ENDS_WITHIN", 0.01)
    here = yard()
    here.answers = [{"accounts": 3}, TimeoutError()]
    here.staff.top_up()
    await here.settle()
    await asyncio.sleep(0.05)
    assert here.killed == [here.workers[1]]
    assert here.problems == ["no answer in time"]


async def test_nothing_is_started_while_the_agent_stops(yard: Callable[[], Yard]) -> None:
    here = yard()
    here.staff.top_up()
    await here.settle()
    here.stop.set()
    here.end(here.workers[0], -9)
    assert here.spawned == 2
