# SPDX-License-Identifier: GPL-3.0-or-later
"""`kill -9` of worker and of supervisor at random moments under load: nothing that got its 250 is lost."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable

from .conftest import LONG, PLAIN, Agent, Sink, running, status, wait_for, wait_until_empty, workers
from .load import Arrivals, Load

ROUNDS = 50 if LONG else 8


class Deaths:
    """Notes when processes end: those of a killed supervisor do it by themselves, once they have noticed."""

    def __init__(self) -> None:
        self.moments: list[float] = []
        self._watching: list[threading.Thread] = []

    def expect(self, pids: list[int]) -> None:
        """Watch these."""
        for pid in pids:
            thread = threading.Thread(target=self._watch, args=(pid,))
            thread.start()
            self._watching.append(thread)

    def _watch(self, pid: int) -> None:
        while running(pid):
            time.sleep(0.005)
        self.moments.append(time.time())

    def all(self) -> list[float]:
        """The moments, once all have ended."""
        for thread in self._watching:
            thread.join()
        return self.moments


def test_killed_at_random_moments(agent: Agent, sink: Sink, load: Load, say: Callable[[str], None]) -> None:
    agent.configure("[process]\nworkers = 2", listeners=PLAIN)
    sink.start()
    agent.start()
    chance = random.Random(3)
    deaths = Deaths()
    load.start(clients=4, pause=0.005)
    for round_ in range(ROUNDS):
        # Mostly out of reach of the last: what comes twice then has no excuse.
        time.sleep(chance.uniform(2.0, 5.0))
        if round_ % 2:
            deaths.expect(workers(agent))
            assert agent.signal(signal.SIGKILL) == -signal.SIGKILL
            agent.start()
        else:
            wait_for(lambda: len(workers(agent)) >= 2, what="two workers")
            pid = chance.choice(workers(agent))
            deaths.expect([pid])
            os.kill(pid, signal.SIGKILL)
    time.sleep(1)
    load.stop()
    wait_until_empty(agent)
    say(f"{ROUNDS} kills: {Arrivals(sink.directory).check(load, deaths.all())}")
    assert len(load.acknowledged) > 20 * ROUNDS
    assert len(status(agent)["workers"]) == 2


def test_the_mail_of_a_killed_worker_goes_on_without_a_restart(agent: Agent, sink: Sink, load: Load) -> None:
    """Its store is opened by its replacement, whose first attempt is the one that was due."""
    agent.configure("[process]\nworkers = 2", listeners=PLAIN)
    agent.start()
    load.start(clients=4, messages=3)
    wait_for(lambda: len(load.acknowledged) > 50, what="load")
    load.stop()
    before = workers(agent)
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    wait_for(
        lambda: len({each["pid"] for each in status(agent).get("workers", [])} - set(before)) == 2, what="replacement"
    )
    assert not set(before) & set(workers(agent))
    assert status(agent)["queue"]["messages"] >= len(load.acknowledged)
    sink.start()
    agent.command("queue", "retry", "--all", "--config", str(agent.config))
    wait_until_empty(agent)
    Arrivals(sink.directory).check(load, [])


def test_workers_killed_while_they_start_are_replaced(agent: Agent) -> None:
    """As the kernel does where memory is short: the agent does not end for it before it ever took mail."""
    agent.configure("[process]\nworkers = 2", listeners=PLAIN)
    agent.launch()
    killed: set[int] = set()
    while len(killed) < 3:
        wait_for(lambda: bool(set(workers(agent)) - killed), what="a worker")
        pid = (set(workers(agent)) - killed).pop()
        os.kill(pid, signal.SIGKILL)
        killed.add(pid)
    wait_for(lambda: len(status(agent).get("workers", [])) == 2, what="two workers", seconds=30)
    assert not agent.ended()
    assert not killed & set(workers(agent))


def test_fewer_workers_leave_no_store_behind(agent: Agent, sink: Sink, load: Load) -> None:
    agent.configure("[process]\nworkers = 3", listeners=PLAIN)
    agent.start()
    load.start(clients=8, messages=1)
    wait_for(lambda: len(load.acknowledged) > 100, what="load")
    load.stop()
    assert agent.signal(signal.SIGTERM) == 0
    agent.configure("[process]\nworkers = 1", listeners=PLAIN)
    agent.start()
    assert status(agent)["queue"]["messages"] == len(load.acknowledged)
    listed = agent.command("queue", "list", "--limit", "0", "--json", "--config", str(agent.config))
    assert listed.stdout.count('"created"') == len(load.acknowledged)
    sink.start()
    agent.command("queue", "retry", "--all", "--config", str(agent.config))
    wait_until_empty(agent)
    Arrivals(sink.directory).check(load, [])
