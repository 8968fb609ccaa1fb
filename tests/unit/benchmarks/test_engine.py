# SPDX-License-Identifier: GPL-3.0-or-later
"""The loop against a small mail server: every message is counted, every failure told."""

from __future__ import annotations

import json
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from benchmarks.load import engine
from benchmarks.load.__main__ import main
from benchmarks.load.plan import Plan
from benchmarks.load.processes import report, run_processes


class Session(socketserver.StreamRequestHandler):
    """Enough of a server; what it takes is counted on its class."""

    taken = 0
    reply_to_content = b"250 2.0.0 queued\r\n"

    def handle(self) -> None:
        self.wfile.write(b"220 hi\r\n")
        for line in self.rfile:
            verb = line.split()[0].upper()
            if verb == b"DATA":
                self.wfile.write(b"354 go\r\n")
                for content in self.rfile:
                    if content == b".\r\n":
                        break
                type(self).taken += 1
                self.wfile.write(self.reply_to_content)
            elif verb == b"QUIT":
                self.wfile.write(b"221 bye\r\n")
                return
            else:
                self.wfile.write(b"250-hello\r\n250 ok\r\n" if verb == b"EHLO" else b"250 ok\r\n")


@contextmanager
def server(reply: bytes = b"250 2.0.0 queued\r\n") -> Iterator[tuple[int, type[Session]]]:
    class Own(Session):
        taken = 0
        reply_to_content = reply

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        request_queue_size = 64

    with Server(("127.0.0.1", 0), Own) as listening:
        thread = threading.Thread(target=listening.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield listening.server_address[1], Own
        finally:
            listening.shutdown()
            thread.join()


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("pipelined", [False, True])
@pytest.mark.parametrize("size", [300, 400_000])
def test_count_is_sent_exactly(kept: bool, pipelined: bool, size: int) -> None:
    with server() as (port, session):
        plan = Plan(port=port, clients=3, count=20, kept=kept, pipelined=pipelined, size=size)
        outcome = engine.run(plan, time.monotonic())
        assert session.taken == outcome.messages == len(outcome.accepted) == 20
        assert outcome.connections == (3 if kept else 20)
        assert not outcome.failures


@pytest.mark.parametrize("kept", [False, True])
def test_a_fixed_rate_is_kept(kept: bool) -> None:
    with server() as (port, session):
        plan = Plan(port=port, clients=20, seconds=1.0, rate=100, kept=kept)
        outcome = engine.run(plan, time.monotonic())
        assert session.taken == outcome.messages
        assert 60 <= outcome.messages <= 150  # Poisson: the seed makes it always the same, the clock nearly
        assert not outcome.failures
        assert outcome.whole.percentile(50) >= outcome.accepted.percentile(50)


def test_refusals_are_told_and_bounded() -> None:
    with server(b"452 4.3.1 no room\r\n") as (port, _):
        outcome = engine.run(Plan(port=port, clients=2, seconds=0.3), time.monotonic())
    assert outcome.messages == 0
    assert set(outcome.failures) == {"content: 452 4.3.1 no room"}


def test_nobody_listens() -> None:
    with server() as (port, _):
        pass
    outcome = engine.run(Plan(port=port, clients=2, seconds=0.2), time.monotonic())
    assert outcome.messages == 0
    assert list(outcome.failures) == ["connection: Connection refused"]


def test_idle_sessions_stay() -> None:
    ready: list[int] = []
    with server() as (port, session):
        outcome = engine.hold(Plan(port=port, clients=30, seconds=0.1), lambda state: ready.append(state.messages))
        assert ready == [30]
        assert outcome.messages == 30
        assert session.taken == 0


def test_merged_outcomes() -> None:
    first, second = engine.Outcome(began=2.0, ended=4.0, messages=3), engine.Outcome(began=1.0, ended=3.0, messages=5)
    second.failures["x"] = 1
    first.merge(second)
    shown = report(first, Plan(port=1, size=1_000_000))
    assert (shown["messages"], shown["seconds"], shown["failed"]) == (8, 3.0, 1)
    assert shown["megabytes_per_second"] == pytest.approx(2.67, abs=0.01)


def test_several_processes_share_a_load() -> None:
    with server() as (port, session):
        outcome = run_processes(Plan(port=port, clients=4, count=11), 2)
        assert session.taken == outcome.messages == 11


def test_the_command_with_two_processes() -> None:
    command = [sys.executable, "-m", "benchmarks.load", "--clients", "2", "--count", "6", "--processes", "2"]
    with server() as (port, session):
        done = subprocess.run([*command, "--port", str(port)], capture_output=True, text=True, check=True)
        assert session.taken == json.loads(done.stdout)["messages"] == 6


def test_the_command_refuses_other_hosts(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--address", "192.0.2.1", "--port", "25"]) == 2
    assert "loopback" in capsys.readouterr().err
