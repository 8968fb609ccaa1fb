# SPDX-License-Identifier: GPL-3.0-or-later
"""No descriptors left: new connections wait or get 421, sessions that are there go on, and it passes by itself."""

from __future__ import annotations

import resource
import socket

from .conftest import PLAIN, Agent, Sink, wait_for, workers
from .load import Arrivals


def say_to(client: socket.socket, line: str, wanted: bytes) -> None:
    client.sendall(line.encode() + b"\r\n")
    reply = client.recv(4096)
    assert reply.startswith(wanted), reply


def test_without_descriptors_sessions_go_on(agent: Agent, sink: Sink) -> None:
    agent.configure(
        "[process]\nworkers = 1",
        listeners=PLAIN + "max_connections_per_source = 1000\n",
    )
    sink.start()
    agent.start()
    (worker,) = workers(agent)
    first = socket.create_connection(("127.0.0.1", agent.starttls), 30)
    assert first.recv(4096).startswith(b"220 ")
    resource.prlimit(worker, resource.RLIMIT_NOFILE, (64, 64))
    others = [socket.create_connection(("127.0.0.1", agent.starttls), 30) for _ in range(80)]
    try:
        wait_for(
            lambda: any("connections wait" in str(event) for event in agent.events("library")), what="the shortage"
        )
        # The session that was there sends a message: the queue has its descriptors already.
        say_to(first, "EHLO x", b"250")
        for number in range(3):
            say_to(first, "MAIL FROM:<alice@alpha.test>", b"250 ")
            say_to(first, "RCPT TO:<bob@beta.test>", b"250 ")
            say_to(first, "DATA", b"354 ")
            say_to(first, f"From: alice@alpha.test\r\n\r\ntoken-d{number}-end\r\n.", b"250 ")
    finally:
        for each in others:
            each.close()
    # Those that waited are served or gone; a new one gets its greeting.
    with socket.create_connection(("127.0.0.1", agent.starttls), 30) as late:
        late.settimeout(30)
        assert late.recv(4096).startswith(b"220 ")
    say_to(first, "QUIT", b"221")
    first.close()
    wait_for(lambda: set(Arrivals(sink.directory).times) == {"d0", "d1", "d2"}, 30, "delivery")
    assert workers(agent) == [worker]
