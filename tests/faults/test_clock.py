# SPDX-License-Identifier: GPL-3.0-or-later
"""The clock is set forward and back an hour under a running agent: nothing bounces early, nothing hangs."""

from __future__ import annotations

import os
import signal
import smtplib
import ssl
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from tests.integration.agent.conftest import PASSWORD

from .conftest import PLAIN, Agent, Sink, status, wait_for, wait_until_empty
from .load import Arrivals, Load

HOUR = 3600


def more_than(load: Load, count: int) -> bool:
    return len(load.acknowledged) > count


class Clock:
    """The wall clock that the agent sees; its monotonic clock stays right, as it does on a host."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.set(0)

    def set(self, offset: int) -> None:
        """Seconds off."""
        fresh = self._file.with_suffix(".new")
        fresh.write_text(f"{offset:+d}s\n")
        fresh.rename(self._file)


@pytest.fixture
def clock(agent: Agent, tmp_path: Path) -> Clock:
    libraries = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    assert libraries, "faketime is missing: scripts/test-packages.sh installs it"
    clock = Clock(tmp_path / "clock")
    agent.environment.update(
        LD_PRELOAD=str(libraries[0]),
        FAKETIME_TIMESTAMP_FILE=str(tmp_path / "clock"),
        FAKETIME_NO_CACHE="1",
        FAKETIME_DONT_FAKE_MONOTONIC="1",
        FAKETIME_DONT_RESET="1",
    )
    return clock


def run_with_nowhere_to_deliver(agent: Agent, load: Load) -> None:
    """From the agent's start to its orderly end; all that it took is deferred."""
    agent.start()
    load.start(clients=2, messages=2, pause=0.05)
    wait_for(lambda: len(load.acknowledged) >= 10, what="mail")
    load.stop()
    wait_for(lambda: len(agent.events("deferred")) >= len(load.acknowledged), what="deferrals")
    assert agent.signal(signal.SIGTERM) == 0


@pytest.mark.parametrize("first", [HOUR, -HOUR])
def test_the_clock_jumps(agent: Agent, sink: Sink, load: Load, clock: Clock, first: int) -> None:
    # From an hour back to an hour forward is two hours: retried for three, and often, so that the test is short.
    agent.configure('retry_for = "3h"\nretry_max = "2s"\n[process]\nworkers = 2', listeners=PLAIN)
    agent.start()
    load.start(clients=2, messages=2, pause=0.05)
    wait_for(lambda: len(load.acknowledged) >= 10, what="mail before the jump")
    for offset in (first, -first, 0):
        clock.set(offset)
        wanted = len(load.acknowledged) + 10
        wait_for(partial(more_than, load, wanted), 30, "mail after the jump")
        assert status(agent)["queue"]["messages"] > 0
    load.stop()
    assert load.failures == {}
    assert agent.events("bounced") == agent.events("failed") == []
    # With the clock right again everything is tried in its time, also what the wrong one put off.
    sink.start()
    wait_until_empty(agent)
    Arrivals(sink.directory).check(load, [])


def test_the_clock_is_put_right_while_no_agent_runs(agent: Agent, sink: Sink, load: Load, clock: Clock) -> None:
    agent.configure('retry_max = "2s"\n[process]\nworkers = 1', listeners=PLAIN)
    clock.set(HOUR)
    run_with_nowhere_to_deliver(agent, load)
    clock.set(0)
    sink.start()
    agent.start()
    wait_until_empty(agent)
    Arrivals(sink.directory).check(load, [])
    assert agent.events("clock_was_ahead")


def test_what_is_retried_by_a_clock_ahead_goes_when_it_is_right(
    agent: Agent, sink: Sink, load: Load, clock: Clock
) -> None:
    agent.configure("[process]\nworkers = 1", listeners=PLAIN)
    run_with_nowhere_to_deliver(agent, load)
    clock.set(HOUR)
    done = subprocess.run(
        [sys.executable, "-m", "relay_agent", "queue", "retry", "--older", "30m", "--config", str(agent.config)],
        env={**os.environ, **agent.environment},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    clock.set(0)
    sink.start()
    agent.start()
    wait_until_empty(agent, 20)
    Arrivals(sink.directory).check(load, [])


def test_what_is_held_for_some_seconds_by_a_clock_ahead_is_not_held_longer(
    agent: Agent, sink: Sink, clock: Clock
) -> None:
    agent.configure("[process]\nworkers = 1")
    sink.start()
    clock.set(HOUR)
    agent.start()
    begun = time.monotonic()
    context = ssl.create_default_context(cafile=str(agent.certificate.certificate))
    context.check_hostname = False
    with smtplib.SMTP("127.0.0.1", agent.starttls, timeout=20) as program:
        program.starttls(context=context)
        program.login("alice", PASSWORD)
        message = "From: alice@alpha.test\nSubject: held\n\ntoken-held-end\n"
        program.sendmail("alice@alpha.test", ["bob@beta.test"], message, mail_options=["HOLDFOR=20"])
    clock.set(0)
    time.sleep(15)
    assert Arrivals(sink.directory).times == {}
    wait_until_empty(agent, 30)
    assert "held" in Arrivals(sink.directory).times
    assert time.monotonic() - begun > 19


def test_sessions_are_not_ended_by_a_jump(agent: Agent, sink: Sink, load: Load, clock: Clock) -> None:
    """Silence is measured by the monotonic clock."""
    agent.configure("[process]\nworkers = 1", listeners=PLAIN)
    sink.start()
    agent.start()
    load.start(clients=2, messages=30, pause=0.1)
    wait_for(lambda: len(load.acknowledged) >= 4, what="sessions")
    clock.set(HOUR)
    time.sleep(1)
    clock.set(-HOUR)
    wait_for(lambda: len(load.acknowledged) >= 50, 30, "the sessions' mail")
    load.stop()
    assert load.failures == {}
    assert agent.signal(signal.SIGTERM) == 0
