# SPDX-License-Identifier: GPL-3.0-or-later
"""Both relays of the benchmark take what the generator sends on every port, and the sink gets all of it."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.check import compare_generators
from benchmarks.measure import Bench, Sizes
from benchmarks.rivals.fill import fill
from benchmarks.rows import Load
from relay_agent.queue.embedded import EmbeddedStore


@pytest.fixture
def bench() -> Iterator[Bench]:
    sizes = Sizes(quick=True)
    sizes.seconds, sizes.warm_up = 0.5, 0.2
    # Not pytest's directory: Postfix's own user must be able to enter.
    with tempfile.TemporaryDirectory(prefix="postroad-bench-", dir="/var/tmp") as place:
        Path(place).chmod(0o755)
        yield Bench(Path(place), sizes, lambda line: None)


RELAYS = [
    "agent",
    pytest.param("postfix", marks=pytest.mark.skipif(os.geteuid() != 0, reason="Postfix must be started by root")),
]


@pytest.mark.parametrize("name", RELAYS)
def test_every_port_until_the_sink_has_all(bench: Bench, name: str) -> None:
    loads = [
        Load(clients=5),
        Load(clients=5, kept=True, pipelined=True),
        Load(clients=5, tls="starttls", signed_in=True),
        Load(clients=5, tls="implicit", signed_in=True, kept=True),
        Load(clients=2, size=1_000_000, kept=True, count=4),
    ]
    with bench.relay(name) as (relay, sink):
        for load in loads:
            sample = bench.sample(relay, sink, load)
            assert sample.failed == 0, sample.note
            assert sample.drained
            assert sample.messages > 0
            assert 0 < sample.p50 <= sample.p99
            assert sample.end_to_end > 0
            assert sample.memory > 1_000_000
    assert not (bench.directory / name).exists()


def test_idle_sessions_cost_memory(bench: Bench) -> None:
    each, ready = bench.idle(300)
    assert ready == 300
    assert each > 1000


def test_an_agent_starts_with_a_full_queue(bench: Bench) -> None:
    place = bench.filled(3000)
    seconds, sample = bench.start_with(place)
    assert seconds < 30
    assert sample.failed == 0
    store = EmbeddedStore(place / "queue")
    counts = asyncio.run(_counts(store))
    assert counts == 3000  # what came meanwhile has left again


async def _counts(store: EmbeddedStore) -> int:
    async with store:
        return (await store.counts()).messages


async def test_the_queue_is_filled_with_what_is_not_due(tmp_path: Path) -> None:
    await fill(tmp_path, 2500, 4096)
    async with EmbeddedStore(tmp_path) as store:
        counts = await store.counts()
        assert (counts.messages, counts.recipients) == (2500, 2500)
        assert counts.bytes == pytest.approx(2500 * 4096, rel=0.05)
        (first,) = await store.list(1)
        assert min(each.next_attempt for each in first.recipients.values()) > first.created + 86000


@pytest.mark.skipif(os.geteuid() != 0, reason="Postfix must be started by root")
def test_the_generator_is_held_against_smtp_source(bench: Bench) -> None:
    rates = compare_generators(bench)
    assert len(rates) == 6
    assert all(rate > 0 for rate in rates.values())
