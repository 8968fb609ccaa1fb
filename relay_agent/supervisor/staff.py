# SPDX-License-Identifier: GPL-3.0-or-later
"""As many workers as are wanted: started, replaced when they end, and those of a replaced program let go."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from relay_agent.board import Board
from relay_agent.control.protocol import WAITS, ControlError
from relay_agent.observability.log import MailLog
from relay_agent.supervisor.channel import ChannelClosedError
from relay_agent.supervisor.crew import Crew, WorkerProcess
from relay_agent.supervisor.settings import Settings
from relay_agent.supervisor.shared import Shared
from relay_agent.supervisor.stores import Stores

__all__ = ["Staff"]

_QUICK = 1.0  # seconds: a worker that ends so soon is not just replaced, or the host would do nothing else
_LONGEST_WAIT = 30.0  # seconds
_LOOKS_FOR_ROOM = 10.0  # seconds between attempts at most while the host lacks room, so long does mail wait for nothing
_SHOULD_PASS_WITHIN = 60.0  # seconds: what is lacking for longer needs a person
_ENDS_WITHIN = 60.0  # seconds for a worker that could not start
_MOST_KILLED = 6  # workers before they take mail; longer, memory is not just short
_GENERATIONS = 4  # of replaced workers whose sessions go on as they like; those of older ones end after a message


class Staff:
    """Keeps up the number of workers.

    listening: the descriptors of the ports, all and by listener. stop: set when the agent is ending. spawn_task: runs
    a coroutine beside everything else. failed: told, in words, that a worker could not start before all were there; one
    that was killed is just replaced, some times. waits: told in words what the host lacks, so that a worker
    cannot start for now; "" once one has started again.
    """

    def __init__(
        self,
        crew: Crew,
        stores: Stores,
        shared: Shared,
        board: Board,
        log: MailLog,
        *,
        settings: Settings,
        listening: tuple[Sequence[int], Sequence[Sequence[int]]],
        stop: asyncio.Event,
        spawn_task: Callable[[Coroutine[Any, Any, None]], None],
        failed: Callable[[str], None],
        waits: Callable[[str], None],
    ) -> None:
        self._crew = crew
        self._stores = stores
        self._shared = shared
        self._board = board
        self._log = log
        self._settings = settings
        self._descriptors, self._by_listener = listening
        self._stop = stop
        self._spawn_task = spawn_task
        self._failed = failed
        self._waits = waits
        self.waiting = ""  # what the host lacks
        self._waiting_since = (0.0, "")  # monotonic, and as a time of day
        self._waits_long = False
        self._quick_ends = 0
        self._killed = 0  # before they took mail
        self.accounts = 0
        self.complete = asyncio.Event()  # every worker of this program takes mail

    @property
    def _current(self) -> list[WorkerProcess]:
        return [each for each in self._crew.workers if not each.old and not each.leaving]

    def top_up(self) -> None:
        """Have as many workers as are wanted."""
        while not self._stop.is_set() and len(self._current) < self._settings.workers:
            try:
                worker = self._crew.spawn(self._stores.first_free(), [*self._descriptors, self._board.fd])
            except OSError as error:
                self._log.event("worker_not_started", level="error", error=str(error))
                self._top_up_later()
                return
            self._spawn_task(self._start(worker))

    def _top_up_later(self) -> None:
        self._quick_ends += 1
        most = _LOOKS_FOR_ROOM if self.waiting else _LONGEST_WAIT
        delay = min(most, 0.1 * 2.0 ** min(self._quick_ends, 10))
        asyncio.get_running_loop().call_later(delay, self.top_up)

    async def _start(self, worker: WorkerProcess) -> None:
        first = next(iter(worker.stores))
        try:
            answer = await worker.channel.call(
                "start",
                text=self._settings.text,
                path=str(self._settings.path),
                workers=self._settings.workers,
                store=first,
                listening=self._by_listener,
                board=[self._board.fd, worker.serial],
                **self._shared.for_worker(),
                within=3600.0,  # a damaged store of a million messages takes its time to be saved
            )
        except (ControlError, TimeoutError) as error:
            if not self._stop.is_set():
                self._did_not_start(worker, error)
            return
        worker.stores.discard(first)
        worker.ready = True
        worker.since = time.monotonic()
        self._stores.opened(worker, answer["store"])
        self.accounts = answer["accounts"]
        if self.waiting:
            self.waiting = ""
            self._waits("")
        if sum(each.ready for each in self._current) >= self._settings.workers and not self.complete.is_set():
            self.complete.set()
            self._let_old_ones_go()
        self._stores.look()

    def _did_not_start(self, worker: WorkerProcess, error: ControlError | TimeoutError) -> None:
        """It ends by itself, and `gone` has another one tried; one that does not is made to."""
        problem = str(error) or "no answer in time"
        self._log.event("worker_not_started", level="error", pid=worker.pid, error=problem)
        asyncio.get_running_loop().call_later(_ENDS_WITHIN, self._crew.kill, [worker])
        if isinstance(error, ControlError) and error.code == WAITS:
            self._keep_waiting(problem)
        elif isinstance(error, ChannelClosedError):
            pass  # what ended it `gone` knows
        elif not self.complete.is_set():
            worker.refused = True
            self._failed(problem)

    def _keep_waiting(self, problem: str) -> None:
        """For as long as it takes: ended for it, the agent would keep other workers from taking and sending mail. But
        what lasts is said to last, in status, to systemd and, once, in the log."""
        now = time.monotonic()
        if not self.waiting:
            self._waiting_since = now, time.strftime("%Y-%m-%d %H:%M:%S %Z")
            self._waits_long = False
        since, moment = self._waiting_since
        if now - since >= _SHOULD_PASS_WITHIN:
            problem = f"{problem} (since {moment}: this does not look as if it passed by itself)"
            if not self._waits_long:
                self._waits_long = True
                self._log.event("worker_waits_long", level="error", problem=problem)
        self.waiting = problem
        self._waits(problem)

    async def _ended_without_a_word(self, worker: WorkerProcess, status: int) -> None:
        """As a task: what it said last is told first. Killed, by want of memory as a rule, it is just replaced, but
        not for ever."""
        if worker.refused or self.waiting or self.complete.is_set() or self._stop.is_set():
            return
        self._killed += status == -signal.SIGKILL
        if status != -signal.SIGKILL or self._killed > _MOST_KILLED:
            self._failed(f"a worker ended with {_cause(status)} before it took mail, and did not say why")

    def _let_old_ones_go(self) -> None:
        leaving = [each for each in self._crew.workers if each.old]
        for worker in leaving:
            if not worker.leaving:
                worker.leaving = True
                worker.channel.notice("replaced" if worker.ready else "stop")
        for worker in leaving[: -_GENERATIONS * self._settings.workers]:
            worker.channel.notice("stop")

    def gone(self, worker: WorkerProcess, status: int) -> None:
        """A worker has ended. status: of the process, negative for a signal."""
        self._shared.forget(worker)
        self._board.leave(worker.serial)
        if not worker.leaving:
            self._log.event(
                "worker_ended", level="error", pid=worker.pid, cause=_cause(status), stores=sorted(worker.stores)
            )
            if not (worker.old or worker.ready):
                self._spawn_task(self._ended_without_a_word(worker, status))
            if worker.old:
                pass
            elif not worker.ready or time.monotonic() - worker.since < _QUICK or status > 0:
                self._top_up_later()
            else:
                self._quick_ends = 0
                self.top_up()
        self._stores.look()


def _cause(status: int) -> str:
    return signal.Signals(-status).name if status < 0 else f"status {status}"
