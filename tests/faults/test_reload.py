# SPDX-License-Identifier: GPL-3.0-or-later
"""The supervisor replaces itself again and again under load, and no mail program notices."""

from __future__ import annotations

import signal
import smtplib
import sys
import time
from collections.abc import Callable
from pathlib import Path

from .conftest import LONG, PLAIN, Agent, Sink, status, wait_for, wait_until_empty, workers
from .load import Arrivals, Load

SECONDS = 60 if LONG else 10


def test_reload_every_second(agent: Agent, sink: Sink, load: Load, say: Callable[[str], None]) -> None:
    agent.configure("[process]\nworkers = 2", listeners=PLAIN)
    sink.start()
    agent.start()
    assert agent.process is not None
    first = agent.process.pid
    load.start(clients=4, pause=0.01)
    for _ in range(SECONDS):
        time.sleep(1)
        agent.signal(signal.SIGHUP)
    wait_for(lambda: status(agent).get("reloading") is False, 30, "the last reload")
    load.stop()
    reloads = len(agent.events("reloaded"))
    wait_until_empty(agent)
    figures = Arrivals(sink.directory).check(load, [])
    say(f"{reloads} reloads in {SECONDS} s, {load.sessions} sessions, {load.failures.total()} failed: {figures}")
    assert load.failures == {}
    assert reloads >= SECONDS // 6  # a signal that comes during a reload is one more reload after it
    assert Arrivals(sink.directory).duplicates == {}
    assert status(agent)["pid"] == first == agent.process.pid
    # The workers that were replaced have gone, and their counts are kept.
    wait_for(lambda: len(workers(agent)) == 2, 40, "the end of the old workers")
    assert status(agent)["counters"]["accepted"] == len(load.acknowledged)


def test_a_session_goes_on_through_a_reload(agent: Agent, sink: Sink, load: Load) -> None:
    agent.configure("[process]\nworkers = 1", listeners=PLAIN)
    sink.start()
    agent.start()
    old = workers(agent)
    # A session has mail for as long as the reload takes.
    load.start(clients=2, messages=10_000, pause=0.2)
    wait_for(lambda: len(load.acknowledged) > 2, what="sessions")
    agent.signal(signal.SIGHUP)
    wait_for(lambda: len(agent.events("reloaded")) == 1, what="reload")
    assert set(old) < set(workers(agent))
    wanted = len(load.acknowledged) + 30
    wait_for(lambda: len(load.acknowledged) >= wanted, what="mail after it")
    load.stop(cut_short=True)
    assert load.failures == {}
    assert load.sessions == 2
    wait_for(lambda: not set(old) & set(workers(agent)), 30, "the end of the old worker")


def test_a_reload_does_not_end_a_message_that_is_begun(agent: Agent, sink: Sink) -> None:
    """Somebody's link is slow, or their program asks them something between RCPT and DATA."""
    agent.configure("[process]\nworkers = 1", listeners=PLAIN)
    sink.start()
    agent.start()
    old = workers(agent)
    with (
        smtplib.SMTP("127.0.0.1", agent.starttls, timeout=20) as begun,
        smtplib.SMTP("127.0.0.1", agent.starttls, timeout=20) as between,
    ):
        for client in (begun, between):
            client.ehlo("laptop.test")
        begun.mail("alice@alpha.test")
        begun.rcpt("bob@beta.test")
        agent.signal(signal.SIGHUP)
        wait_for(lambda: len(agent.events("reloaded")) == 1, what="reload")
        time.sleep(5)
        assert between.getreply()[0] == 421  # to be had anew, from a worker that stays
        assert begun.data("Subject: late\r\n\r\nStill here.\r\n")[0] == 250
    wait_for(lambda: len(sink.messages()) == 1, what="arrival")
    wait_for(lambda: not set(old) & set(workers(agent)), 30, "the end of the old worker")


def test_a_reload_takes_up_listeners_and_workers(agent: Agent, sink: Sink) -> None:
    agent.configure("[process]\nworkers = 1", listeners=PLAIN)
    agent.start()
    assert len(status(agent)["workers"]) == 1
    agent.configure("[process]\nworkers = 2")
    agent.signal(signal.SIGHUP)
    wait_for(lambda: len(agent.events("reloaded")) == 1, what="reload")
    agent.submit("over TLS now", implicit=True)
    wait_for(lambda: [each["state"] for each in status(agent)["workers"]] == ["running"] * 2, what="two workers")
    sink.start()
    wait_for(lambda: len(sink.messages()) == 1, what="arrival")


def test_a_port_that_cannot_be_had_keeps_everything(agent: Agent, sink: Sink) -> None:
    sink.start()
    agent.configure("[process]\nworkers = 1", listeners=PLAIN)
    agent.start()
    agent.config.write_text(
        agent.config.read_text()
        + f"""
[[listener]]
address = "127.0.0.1"
port = {sink.port}
tls = "none"
auth = "none"
"""
    )
    agent.signal(signal.SIGHUP)
    wait_for(lambda: len(agent.events("reload_refused")) == 1, what="refusal")
    assert str(sink.port) in agent.events("reload_refused")[0]["problems"][0]
    assert len(status(agent)["listeners"]) == 1


def test_a_new_release_is_taken_up_by_a_reload(agent: Agent, tmp_path: Path) -> None:
    """`current` is a link to a release; the one that it leads to at the reload is the one that runs afterwards."""
    agent.configure("[process]\nworkers = 1", listeners=PLAIN)
    source = Path(__file__).parents[2]
    for name in ("one", "two", "broken"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "relay_agent").symlink_to(source / "relay_agent")
        script = tmp_path / name / "relay-agent"
        body = "sys.exit('no such module')" if name == "broken" else "from relay_agent.cli.main import main"
        script.write_text(
            f"#!{sys.executable}\nimport os, sys\nos.environ['RELEASE'] = '{name}'\n{body}\nsys.exit(main())\n"
        )
        script.chmod(0o755)
    current = tmp_path / "current"
    current.symlink_to("one")
    agent.program = [str(current / "relay-agent")]
    agent.environment["PYTHONPATH"] = str(source)

    def running() -> str:
        environment = Path(f"/proc/{workers(agent)[0]}/environ").read_bytes()
        return next(each for each in environment.split(b"\0") if each.startswith(b"RELEASE=")).decode()

    agent.start()
    assert running() == "RELEASE=one"
    current.unlink()
    current.symlink_to("broken")
    agent.signal(signal.SIGHUP)
    wait_for(lambda: len(agent.events("reload_refused")) == 1, what="refusal")
    assert "no such module" in agent.events("reload_refused")[0]["problems"][0]
    current.unlink()
    current.symlink_to("two")
    agent.signal(signal.SIGHUP)
    wait_for(lambda: len(agent.events("reloaded")) == 1, what="reload")
    wait_for(lambda: len(workers(agent)) == 1, what="the end of the old worker")
    assert running() == "RELEASE=two"
