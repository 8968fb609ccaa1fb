# SPDX-License-Identifier: GPL-3.0-or-later
"""`kill -9` of worker and of supervisor at random moments under load: nothing that got its 250 is lost."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable

from .conftest import LONG, PLAIN, Agent, Sink, status, wait_for, wait_until_empty, workers
from .load import Arrivals, Load

ROUNDS = 50 if LONG else 8


def test_killed_at_random_moments(agent: Agent, sink: Sink, load: Load, say: Callable[[str], None]) -> None:
    agent.configure("[process]\nworkers = 2", listeners=PLAIN)
    sink.start()
    agent.start()
    chance = random.Random(3)
    kills: list[float] = []
    load.start(clients=4, pause=0.005)
    for round_ in range(ROUNDS):
        time.sleep(chance.uniform(0.2, 1.5))
        kills.append(time.time())
        if round_ % 2:
            assert agent.signal(signal.SIGKILL) == -signal.SIGKILL
            agent.start()
        else:
            wait_for(lambda: len(workers(agent)) >= 2, what="two workers")
            os.kill(chance.choice(workers(agent)), signal.SIGKILL)
    time.sleep(1)
    load.stop()
    wait_until_empty(agent)
    say(f"{ROUNDS} kills: {Arrivals(sink.directory).check(load, kills)}")
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
    wait_for(lambda: len(status(agent).get("workers", [])) == 2, what="replacement")
    assert not set(before) & set(workers(agent))
    assert status(agent)["queue"]["messages"] >= len(load.acknowledged)
    sink.start()
    agent.command("queue", "retry", "--all", "--config", str(agent.config))
    wait_until_empty(agent)
    Arrivals(sink.directory).check(load, [])


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
