# SPDX-License-Identifier: GPL-3.0-or-later
"""Slow and silent clients by the thousand: honest ones are served as if they were not there."""

from __future__ import annotations

import resource
import select
import socket
import time
from collections.abc import Callable

from .conftest import LONG, PLAIN, Agent, Sink, wait_for, wait_until_empty
from .load import Arrivals, Load

SILENT = 3000 if LONG else 1000
SLOW = 300 if LONG else 100


def test_honest_clients_among_silent_ones(agent: Agent, sink: Sink, load: Load, say: Callable[[str], None]) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    agent.configure(
        "[process]\nworkers = 2",
        listeners=PLAIN + "max_connections_per_source = 20000\nmax_connections = 20000\ncommand_timeout = '20s'\n",
    )
    sink.start()
    agent.start()
    held: list[socket.socket] = []
    try:
        for _ in range(SILENT + SLOW):
            client = socket.socket()
            client.setblocking(False)
            client.connect_ex(("127.0.0.1", agent.starttls))
            held.append(client)
            if len(held) % 50 == 0:
                poll = select.poll()
                poll.register(client, select.POLLOUT)
                poll.poll(5000)
        slow = held[:SLOW]
        load.start(clients=4, messages=10, pause=0.02)
        end = time.monotonic() + (25 if LONG else 8)
        line = b"NOOP a letter a quarter of a second\r\n" * 20
        place = 0
        while time.monotonic() < end:
            for client in slow:
                try:
                    client.send(line[place : place + 1])
                except OSError:
                    continue
            place += 1
            time.sleep(0.25)
        load.stop()
        say(
            f"{SILENT} silent and {SLOW} slow clients: {len(load.waits)} messages, "
            f"p99 {load.p99() * 1000:.0f} ms from MAIL to 250, {load.failures.total()} failed"
        )
        # The short form runs beside other tests: a stopwatch on a machine that does other things as well.
        assert load.p99() < (1.0 if LONG else 10.0)
        assert load.failures == {}
        if LONG:
            wait_for(lambda: gone(held[SLOW:]) > SILENT // 2, 40, "their end")
    finally:
        for client in held:
            client.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    wait_until_empty(agent)
    Arrivals(sink.directory).check(load, [])


def gone(clients: list[socket.socket]) -> int:
    """How many of them the agent has ended."""
    count = 0
    for client in clients:
        try:
            count += client.recv(4096, socket.MSG_PEEK)[-100:].find(b"421 ") >= 0
        except OSError:
            continue
    return count
