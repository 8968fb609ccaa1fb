# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent's metrics as a whole: asked of the workers, added up, and served where `[metrics]` says so."""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import socket
import time
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final

import relay_agent
from relay_agent.config.schema import Config
from relay_agent.control.protocol import ControlError
from relay_agent.control.server import Handler
from relay_agent.observability import measured
from relay_agent.observability.endpoint import Endpoint, Page, listen
from relay_agent.observability.exposition import as_json, as_text, content_type
from relay_agent.observability.log import MailLog
from relay_agent.observability.metrics import Definition, Series, Snapshot
from relay_agent.observability.readings import counted
from relay_agent.observability.totals import Totals
from relay_agent.reputation.watch import Finding
from relay_agent.supervisor.crew import Crew, WorkerProcess

__all__ = ["Monitoring", "State"]

_ASK_EVERY: Final = 5.0  # seconds: what a worker counts within them is lost if it is killed
_ANSWER_WITHIN: Final = 2.0  # seconds; a worker that is busier than that is shown as it was before
_FRESH: Final = 0.5  # seconds that a page is good for: whoever reads more often costs next to nothing
_BIND_AGAIN: Final = 30.0  # seconds
_OF_STORE: Final = {"messages", "recipients", "held", "bytes", "oldest", "in_hand", "connections"}
# What comes of a report of another release, around a reload; its numbers are missed, and mail goes on.
_NOT_OURS: Final = (KeyError, TypeError, ValueError, AttributeError)


@dataclass(frozen=True)
class State:
    """What only the supervisor knows. started: seconds since the epoch. trouble: why it is not healthy, or "".

    suppressed: entries of the suppression list that hold, by cause. findings: the last answers of the block lists.
    expiry: the end of the certificate, seconds since the epoch. renewal_fails: None where the host does not renew.
    """

    started: float
    accounts: int
    trouble: str
    suppressed: Mapping[str, int] = field(default_factory=dict)
    findings: Sequence[Finding] = ()
    expiry: int | None = None
    renewal_fails: bool | None = None


@dataclass
class _Told:
    """A worker's last answer, less what it has counted."""

    worker: dict[str, float] = field(default_factory=dict)
    stores: dict[str, dict[str, Any]] = field(default_factory=dict)


class Monitoring:
    """Keeps the totals, whether anybody reads them or not. config: as the agent runs with it now.

    empty: stores that no worker has, and that have nothing in them.
    """

    def __init__(self, config: Config, crew: Crew, empty: Set[int], log: MailLog, state: Callable[[], State]) -> None:
        self._config = config
        self._crew = crew
        self._empty = empty
        self._log = log
        self._state = state
        self._totals = Totals(measured.REGISTRY)
        self._told: dict[int, _Told] = {}
        self._left: dict[str, dict[str, Any]] = {}  # stores as a worker that has ended told of them
        self._reading = asyncio.Lock()
        self._read = -_FRESH
        self._families: list[dict[str, Any]] = []
        self._texts: dict[str, str] = {}  # of these families, by format
        self._endpoint: Endpoint | None = None
        self._inherited: socket.socket | None = None
        self._tried = 0.0
        self._said = False
        self._task: asyncio.Task[None] | None = None

    # ---- beginning and end ----------------------------------------------------------------------------

    async def start(self) -> None:
        """Serve, and ask the workers now and then. A port that cannot be had stops no mail: it is logged, and tried
        again."""
        await self._serve()
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        """Stop."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._endpoint is not None:
            await self._endpoint.close()
            self._endpoint = None
        if self._inherited is not None:
            self._inherited.close()
            self._inherited = None

    async def detach(self) -> list[int]:
        """Stop, for a process that replaces itself; the descriptors to keep, whose numbers `export` has."""
        if self._task is not None:
            self._task.cancel()
        if self._endpoint is not None:
            self._inherited = await self._endpoint.close(keep=True)
            self._endpoint = None
        return [self._inherited.fileno()] if self._inherited is not None else []

    def export(self) -> dict[str, Any]:
        """What another program of this process needs, JSON-ready."""
        return {
            "totals": self._totals.export(self._own()),
            "stores": self._left,
            "socket": self._inherited.fileno() if self._inherited is not None else None,
        }

    def restore(self, state: dict[str, Any] | None) -> None:
        """Go on from `export`; None: an earlier release had no metrics."""
        if state is None:
            return
        if state["socket"] is not None:
            os.set_inheritable(state["socket"], False)
            self._inherited = socket.socket(fileno=state["socket"])
        try:
            self._totals.restore(state["totals"], (each.serial for each in self._crew.workers))
            self._left.update(_understood(state["stores"]))
        except _NOT_OURS:
            self._log.event("metrics_begin_anew", level="warning", reason="the earlier release counted in another way")

    def farewell(self, worker: WorkerProcess, snapshot: Snapshot | None) -> None:
        """A worker says what it has counted, in its last moment; None: one of an earlier release."""
        if snapshot is not None:
            with contextlib.suppress(*_NOT_OURS):
                self._totals.told(worker.serial, snapshot)

    def gone(self, worker: WorkerProcess, status: int) -> None:
        """A worker has ended; status: as of `Crew`."""
        if not worker.leaving:
            measured.RESTARTS["signal" if status < 0 else "exit"] += 1
        self._totals.ended(worker.serial)
        told = self._told.pop(worker.serial, None)
        if told is not None:
            self._left.update(told.stores)

    # ---- asking ---------------------------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(_ASK_EVERY)
            await self._ask()
            if self._endpoint is None and time.monotonic() - self._tried >= _BIND_AGAIN:
                await self._serve()

    async def _ask(self) -> None:
        await asyncio.gather(*(self._ask_one(each) for each in self._crew.workers if each.ready))

    async def _ask_one(self, worker: WorkerProcess) -> None:
        try:
            report = await worker.channel.call("metrics", within=_ANSWER_WITHIN)
        except (ControlError, TimeoutError):
            return
        if worker in self._crew.workers:  # else its farewell, which is newer, or its death has been counted already
            with contextlib.suppress(*_NOT_OURS):
                self._take(worker, report)

    def _take(self, worker: WorkerProcess, report: dict[str, Any]) -> None:
        self._totals.told(worker.serial, report["counted"])
        before = self._told.get(worker.serial, _Told())
        now = {key: float(report["worker"][key]) for key in ("sessions", "lag", "resident")}
        told = self._told[worker.serial] = _Told(now, _understood(report["stores"]))
        self._left.update(before.stores)  # those that it has closed
        for number in told.stores:
            self._left.pop(number, None)

    # ---- telling --------------------------------------------------------------------------------------

    async def families(self) -> list[dict[str, Any]]:
        """Every metric that has a value, JSON-ready; see `exposition.as_json`."""
        async with self._reading:
            if time.monotonic() - self._read >= _FRESH:
                await self._ask()
                values = {**self._totals.sums(self._own()), **self._gauges()}
                self._families = [as_json(each, values[each.name]) for each in measured.REGISTRY if each.name in values]
                self._texts.clear()
                self._read = time.monotonic()
        return self._families

    def handlers(self) -> dict[str, Handler]:
        """The commands of the control socket."""

        async def metrics(_: dict[str, Any]) -> dict[str, Any]:
            return {"metrics": await self.families()}

        return {"metrics": metrics}

    def _own(self) -> Snapshot:
        # What the log says is so wherever a reload was asked for.
        counts = self._log.counts
        measured.RELOADS.update({"done": counts["reloaded"], "refused": counts["reload_refused"]})
        return counted(self._log, "supervisor")

    def _gauges(self) -> dict[str, Series]:
        state, told, gauges = self._state(), list(self._told.values()), _Gauges()
        # A store that no worker has at the moment is as it was.
        stores = {number: store for number, store in self._left.items() if int(number) not in self._empty}
        for each in told:
            stores.update(each.stores)
        for store in stores.values():
            gauges.add(measured.QUEUE_MESSAGES, store["in_hand"], "in_hand")
            gauges.add(measured.QUEUE_MESSAGES, max(0, store["messages"] - store["in_hand"]), "waiting")
            gauges.add(measured.QUEUE_RECIPIENTS, store["recipients"] - store["held"], "active")
            gauges.add(measured.QUEUE_RECIPIENTS, store["held"], "held")
            gauges.add(measured.QUEUE_BYTES, store["bytes"])
            gauges.add(measured.OUTGOING_OPEN, store["connections"])
            for label, count in store.get("destinations", {}).items():
                gauges.add(measured.DESTINATIONS, count, label)
        oldest = min((store["oldest"] for store in stores.values() if store["oldest"] is not None), default=None)
        gauges.add(measured.QUEUE_OLDEST, 0 if oldest is None else max(0.0, round(time.time() - oldest, 3)))
        gauges.add(measured.SESSIONS, sum(each.worker["sessions"] for each in told))
        for each in told:
            name = min(each.stores, key=int, default="none")
            gauges.add(measured.LOOP_LAG, each.worker["lag"], name)
            gauges.add(measured.RESIDENT, each.worker["resident"], name)
        for label in ("starting", "running", "leaving"):
            gauges.add(measured.WORKERS, sum(_stage(worker) == label for worker in self._crew.workers), label)
        gauges.add(measured.ACCOUNTS, state.accounts)
        for cause in measured.SUPPRESSIONS.labels[0].values:
            gauges.add(measured.SUPPRESSIONS, state.suppressed.get(cause, 0), cause)
        for finding in state.findings:
            if finding.listed is not None:
                gauges.add(measured.BLOCKLIST_LISTED, int(finding.listed), finding.list, finding.address)
        if state.expiry is not None:
            gauges.add(measured.CERTIFICATE_EXPIRY, state.expiry)
        if state.renewal_fails is not None:
            gauges.add(measured.CERTIFICATE_RENEWAL_FAILS, int(state.renewal_fails))
        gauges.add(measured.STARTED, round(state.started, 3))
        gauges.add(measured.BUILD, 1, relay_agent.__version__, platform.python_version())
        return gauges

    # ---- serving --------------------------------------------------------------------------------------

    async def _serve(self) -> None:
        wanted, inherited = self._config.metrics, self._inherited
        self._inherited = None
        self._tried = time.monotonic()
        if wanted is None:
            if inherited is not None:
                inherited.close()
            return
        address = (str(wanted.address), wanted.port)
        if inherited is not None and inherited.getsockname()[:2] != address:
            inherited.close()
            inherited = None
        try:
            if inherited is None:
                inherited = listen(*address)
            endpoint = Endpoint(inherited, {"/metrics": self._metrics_page, "/healthz": self._health_page})
            await endpoint.start()
        except OSError as error:
            if not self._said:
                self._said = True
                problem = f"metrics.address {address[0]}, metrics.port {address[1]}: {error.strerror or error}"
                self._log.event("metrics_not_served", level="error", problem=problem, again_in=_BIND_AGAIN)
            return
        self._endpoint = endpoint
        self._said = False

    async def _metrics_page(self, accept: str) -> Page:
        format, families = content_type(accept), await self.families()
        if format not in self._texts:
            self._texts[format] = as_text(families, format)
        return Page(self._texts[format], format)

    async def _health_page(self, _: str) -> Page:
        trouble = self._state().trouble
        if trouble:
            return Page(f"{trouble}\n", status=HTTPStatus.SERVICE_UNAVAILABLE)
        return Page("taking mail\n")


class _Gauges(dict[str, Series]):
    """Values by metric and labels."""

    def add(self, definition: Definition, value: float, *labels: str) -> None:
        """Add to what there is."""
        numbers = self.setdefault(definition.name, {}).setdefault(labels, [0])
        numbers[0] += value


def _understood(stores: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The stores of which everything is told."""
    return {str(int(number)): store for number, store in stores.items() if store.keys() >= _OF_STORE}


def _stage(worker: WorkerProcess) -> str:
    if worker.leaving or worker.old:
        return "leaving"
    return "running" if worker.ready else "starting"
