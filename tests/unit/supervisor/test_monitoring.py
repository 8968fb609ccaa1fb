# SPDX-License-Identifier: GPL-3.0-or-later
import asyncio
import io
import json
import os
import socket
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from relay_agent.config.load import parse_config
from relay_agent.config.schema import Config
from relay_agent.control.protocol import FAILED, ControlError
from relay_agent.observability import measured
from relay_agent.observability.log import MailLog
from relay_agent.observability.metrics import Counter, Histogram, Snapshot
from relay_agent.supervisor import monitoring
from relay_agent.supervisor.crew import Crew, WorkerProcess
from relay_agent.supervisor.monitoring import Monitoring, State
from tests.ports import free_port

QUEUE = {
    "messages": 3,
    "recipients": 5,
    "held": 1,
    "bytes": 100,
    "oldest": 1000.0,
    "in_hand": 1,
    "connections": 2,
    "destinations": {"busy": 1},
}


@dataclass
class Channel:
    """A worker's, as far as it is asked for its metrics."""

    accepted: int = 0
    stores: dict[str, Any] = field(default_factory=dict)
    error: Exception | None = None
    calls: int = 0

    @property
    def counted(self) -> Snapshot:
        return {"postroad_messages_accepted_total": [[[], [self.accepted]]]}

    async def call(self, command: str, *, within: float) -> Any:
        assert command == "metrics"
        self.calls += 1
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        worker = {"sessions": 2, "lag": 0.5, "resident": 1000}
        return {"counted": self.counted, "worker": worker, "stores": self.stores}


class FakeCrew:
    def __init__(self) -> None:
        self.workers: list[WorkerProcess] = []

    def add(self, **facts: Any) -> tuple[WorkerProcess, Channel]:
        channel = Channel(**facts)
        worker = WorkerProcess(len(self.workers) + 1, 100, cast(Any, channel), {0}, 0.0, ready=True)
        self.workers.append(worker)
        return worker, channel


@pytest.fixture(autouse=True)
def always_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitoring, "_FRESH", 0.0)


@pytest.fixture(autouse=True)
def nothing_counted() -> None:
    """Other tests of this process have counted, too."""
    for metric in vars(measured).values():
        if isinstance(metric, Counter):
            metric.clear()
        elif isinstance(metric, Histogram):
            metric.counts, metric.sum = [0] * len(metric.counts), 0.0


@pytest.fixture
def crew() -> FakeCrew:
    return FakeCrew()


def settings(extra: str = "") -> Config:
    return parse_config(
        'hostname = "relay.test"\n[submission]\ntrusted_networks = ["127.0.0.0/8"]\n'
        f'[[listener]]\nport = 2587\ntls = "none"\nauth = "none"\n{extra}',
        "agent.toml",
    )


def watch(
    crew: FakeCrew, config: Config | None = None, *, empty: set[int] | None = None, log: Any = None
) -> Monitoring:
    state = State(started=5.0, accounts=4, trouble="")
    log = log or MailLog(io.StringIO())
    return Monitoring(config or settings(), cast(Crew, crew), set() if empty is None else empty, log, lambda: state)


async def values(watched: Monitoring) -> dict[str, float]:
    """Samples that have one value, by name and the values of the labels."""
    return {
        " ".join([family["name"].removeprefix("postroad_"), *sample["labels"].values()]): sample["value"]
        for family in await watched.families()
        for sample in family["samples"]
        if "value" in sample
    }


async def test_workers_and_stores_are_added_up(crew: FakeCrew) -> None:
    crew.add(accepted=3, stores={"0": QUEUE, "2": {**QUEUE, "oldest": 900.0}})
    crew.add(accepted=4, stores={"1": {**QUEUE, "oldest": None, "held": 0}})
    starting, _ = crew.add()
    starting.ready = False
    found = await values(watch(crew))
    assert found["messages_accepted_total"] == 7
    assert (found["queue_messages in_hand"], found["queue_messages waiting"]) == (3, 6)
    assert (found["queue_recipients active"], found["queue_recipients held"]) == (13, 2)
    assert (found["queue_bytes"], found["outgoing_connections_open"], found["sessions"]) == (300, 6, 4)
    assert found["queue_oldest_age_seconds"] > 1e9
    assert found["worker_loop_lag_seconds 0"] == found["worker_loop_lag_seconds 1"] == 0.5
    assert (found["workers running"], found["workers starting"], found["workers leaving"]) == (2, 1, 0)
    assert (found["accounts"], found["start_timestamp_seconds"]) == (4, 5.0)


async def test_a_worker_that_does_not_answer_is_shown_as_before(crew: FakeCrew) -> None:
    _, channel = crew.add(accepted=3, stores={"0": QUEUE})
    watched = watch(crew)
    await watched.families()
    for error in (TimeoutError(), ControlError(FAILED, "gone")):
        channel.error = error
        found = await values(watched)
        assert (found["messages_accepted_total"], found["queue_bytes"]) == (3, 100)


async def test_a_worker_that_ends_leaves_its_counts_and_its_stores(crew: FakeCrew) -> None:
    worker, channel = crew.add(accepted=3, stores={"0": QUEUE})
    empty: set[int] = set()
    watched = watch(crew, empty=empty)
    before = await values(watched)
    channel.accepted = 5
    watched.farewell(worker, channel.counted)
    watched.farewell(worker, None)  # as one of an earlier release would say it
    crew.workers.clear()
    watched.gone(worker, -9)
    found = await values(watched)
    assert found["messages_accepted_total"] == 5
    assert found["worker_restarts_total signal"] == before["worker_restarts_total signal"] + 1
    assert (found["queue_bytes"], found["sessions"]) == (100, 0)
    _, adopting = crew.add(stores={"0": {**QUEUE, "bytes": 60}})
    assert (await values(watched))["queue_bytes"] == 60
    adopting.stores = {}  # closed for a moment, then known to be empty
    assert (await values(watched))["queue_bytes"] == 60
    empty.add(0)
    found = await values(watched)
    assert "queue_bytes" not in found
    assert found["queue_oldest_age_seconds"] == 0


async def test_a_worker_that_was_to_end_is_no_restart(crew: FakeCrew) -> None:
    worker, _ = crew.add()
    watched = watch(crew)
    before = await values(watched)
    worker.leaving = True
    watched.gone(worker, 0)
    after = await values(watched)
    assert after["worker_restarts_total exit"] == before["worker_restarts_total exit"]


async def test_an_answer_that_comes_after_the_end_counts_for_nothing(crew: FakeCrew) -> None:
    worker, channel = crew.add(accepted=3)
    watched = watch(crew)
    asking = asyncio.ensure_future(watched.families())
    await asyncio.sleep(0)
    watched.farewell(worker, {"postroad_messages_accepted_total": [[[], [4]]]})
    crew.workers.clear()
    watched.gone(worker, 0)
    await asking
    assert channel.calls == 1
    assert (await values(watched))["messages_accepted_total"] == 4


async def test_readers_share_an_answer(crew: FakeCrew, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitoring, "_FRESH", 60.0)
    _, channel = crew.add()
    watched = watch(crew)
    await asyncio.gather(*(watched.families() for _ in range(5)))
    assert channel.calls == 1


async def test_reloads_are_those_of_the_log(crew: FakeCrew) -> None:
    log = MailLog(io.StringIO())
    watched = watch(crew, log=log)
    log.event("reload_refused", level="error")
    assert (await values(watched))["reloads_total refused"] == 1
    state = json.loads(json.dumps(watched.export()))
    after = watch(crew)
    after.restore(None)
    after.restore(state)
    assert (await values(after))["reloads_total refused"] == 1


async def test_the_certificate_s_end_and_its_renewals(crew: FakeCrew) -> None:
    state = State(5.0, 4, "", expiry=1_800_000_000, renewal_fails=True)
    watched = Monitoring(settings(), cast(Crew, crew), set(), MailLog(io.StringIO()), lambda: state)
    found = await values(watched)
    assert found["certificate_expiry_timestamp_seconds"] == 1_800_000_000
    assert found["certificate_renewal_fails"] == 1
    # Neither where there is no certificate, and the latter not where another renews it.
    nothing = await values(watch(crew))
    assert "certificate_expiry_timestamp_seconds" not in nothing
    assert "certificate_renewal_fails" not in nothing


async def get(port: int, path: str) -> tuple[int, str]:
    def ask() -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    return await asyncio.to_thread(ask)


async def test_the_port_serves_metrics_and_health_and_goes_to_the_next_program(crew: FakeCrew) -> None:
    port = free_port()
    config = settings(f"[metrics]\nport = {port}\n")
    first = watch(crew, config)
    await first.start()
    status, text = await get(port, "/metrics")
    assert status == 200
    assert "\npostroad_accounts 4\n" in text
    assert await get(port, "/healthz") == (200, "taking mail\n")
    kept = await first.detach()
    state = json.loads(json.dumps(first.export()))
    assert kept == [state["socket"]]
    second = Monitoring(
        config, cast(Crew, crew), set(), MailLog(io.StringIO()), lambda: State(0.0, 0, "no worker takes mail")
    )
    second.restore({**state, "socket": os.dup(state["socket"])})
    await first.close()
    await second.start()
    assert await get(port, "/healthz") == (503, "no worker takes mail\n")
    await second.close()
    with pytest.raises(urllib.error.URLError):
        await get(port, "/healthz")


async def test_another_port_or_none_lets_the_earlier_one_go(crew: FakeCrew) -> None:
    old, new = free_port(), free_port()
    for wanted in (f"[metrics]\nport = {new}\n", ""):
        first = watch(crew, settings(f"[metrics]\nport = {old}\n"))
        await first.start()
        await first.detach()
        second = watch(crew, settings(wanted))
        state = first.export()
        second.restore({**state, "socket": os.dup(state["socket"])})
        await first.close()
        await second.start()
        if wanted:
            assert (await get(new, "/healthz"))[0] == 200
        with pytest.raises(urllib.error.URLError):
            await get(old, "/healthz")
        await second.close()


async def test_a_port_that_is_taken_is_said_once_and_tried_again(
    crew: FakeCrew, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(monitoring, "_ASK_EVERY", 0.02)
    monkeypatch.setattr(monitoring, "_BIND_AGAIN", 0.02)
    log = MailLog(io.StringIO())
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        watched = watch(crew, settings(f"[metrics]\nport = {port}\n"), log=log)
        await watched.start()
        await asyncio.sleep(0.2)
        assert log.counts["metrics_not_served"] == 1
    await asyncio.sleep(0.2)
    assert (await get(port, "/healthz"))[0] == 200
    await watched.close()


@pytest.mark.parametrize(
    "report",
    [
        None,
        {},
        {"counted": 3, "worker": {}, "stores": {}},
        {"counted": {"postroad_messages_accepted_total": 5}, "worker": {}, "stores": {}},
        {"counted": {"postroad_messages_accepted_total": [[[], ["x"]]]}, "worker": {}, "stores": {}},
        {"counted": {}, "worker": {"sessions": "many", "lag": 0, "resident": 0}, "stores": {}},
        {"counted": {}, "worker": {"sessions": 0, "lag": 0, "resident": 0}, "stores": []},
        {"counted": {}, "worker": {"sessions": 0, "lag": 0, "resident": 0}, "stores": {"x": QUEUE}},
        {"counted": {}, "worker": {"sessions": 0, "lag": 0, "resident": 0}, "stores": {"0": {"messages": 1}}},
    ],
)
async def test_a_report_of_another_release_harms_nobody(crew: FakeCrew, report: Any) -> None:
    class Other(Channel):
        async def call(self, command: str, *, within: float) -> Any:
            return report

    worker, _ = crew.add()
    worker.channel = cast(Any, Other())
    crew.add(accepted=2, stores={"1": QUEUE})
    found = await values(watch(crew))
    assert (found["messages_accepted_total"], found["queue_bytes"]) == (2, 100)


@pytest.mark.parametrize("state", [{"totals": {}, "stores": {}}, {"totals": {"past": {}, "last": []}, "stores": 3}])
async def test_totals_of_another_release_begin_anew(crew: FakeCrew, state: dict[str, Any]) -> None:
    log = MailLog(io.StringIO())
    watched = watch(crew, log=log)
    watched.restore({**state, "socket": None})
    assert log.counts["metrics_begin_anew"] == 1
    assert (await values(watched))["messages_accepted_total"] == 0
