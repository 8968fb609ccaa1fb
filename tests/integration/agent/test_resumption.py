# SPDX-License-Identifier: GPL-3.0-or-later
"""TLS sessions resumed from one connection to the next, with two workers behind the port."""

from __future__ import annotations

import os
import signal
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from .conftest import Agent, wait_for

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


def workers(agent: Agent) -> list[int]:
    assert agent.process is not None
    pid = agent.process.pid
    return sorted(int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split())


@contextmanager
def alone(agent: Agent, worker: int) -> Iterator[None]:
    """Only this worker takes connections meanwhile."""
    others = [each for each in workers(agent) if each != worker]
    for other in others:
        os.kill(other, signal.SIGSTOP)
    try:
        yield
    finally:
        for other in others:
            os.kill(other, signal.SIGCONT)


def client_of(agent: Agent, version: ssl.TLSVersion) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(agent.certificate.certificate))
    context.minimum_version = context.maximum_version = version
    return context


def connect(
    agent: Agent, context: ssl.SSLContext, session: ssl.SSLSession | None, *, starttls: bool = False
) -> tuple[bool, ssl.SSLSession]:
    """Whether the session was resumed, and the one for the next time; the connection works either way."""
    plain = socket.create_connection(("127.0.0.1", agent.starttls if starttls else agent.implicit), 10)
    if starttls:
        for command in (b"EHLO laptop.test\r\n", b"STARTTLS\r\n"):
            assert plain.recv(1000)[:1] == b"2"
            plain.sendall(command)
        assert plain.recv(1000)[:3] == b"220"
    with context.wrap_socket(plain, server_hostname="relay.test", session=session) as tls:
        if not starttls:
            assert tls.recv(100).startswith(b"220 ")
        tls.sendall(b"EHLO laptop.test\r\n")
        assert tls.recv(2000).startswith(b"250-")
        # With TLS 1.3 the ticket comes behind the handshake: it is there once something was read.
        assert tls.session is not None
        return bool(tls.session_reused), tls.session


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)
def test_a_program_resumes_its_session_and_another_worker_makes_a_full_handshake(
    agent: Agent, version: ssl.TLSVersion
) -> None:
    agent.configure("[process]\nworkers = 2\n")
    agent.start()
    first, second = workers(agent)
    context = client_of(agent, version)
    with alone(agent, first):
        resumed, session = connect(agent, context, None)
        assert not resumed
        # Three in a row, each with the session of the one before, and on the other kind of port, too.
        for starttls in (False, False, True):
            resumed, session = connect(agent, context, session, starttls=starttls)
            assert resumed
    with alone(agent, second):
        # The tickets of a worker can be read by itself alone. The handshake is a full one then, and nothing breaks.
        resumed, other = connect(agent, context, session)
        assert not resumed
        assert connect(agent, context, other)[0]
    with alone(agent, first):
        assert connect(agent, context, session)[0]


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)
def test_no_session_outlives_a_reload(agent: Agent, version: ssl.TLSVersion) -> None:
    """It may have been given for another certificate, or to somebody who is no longer vouched for."""
    agent.configure("[process]\nworkers = 1\n")
    agent.start()
    context = client_of(agent, version)
    _, session = connect(agent, context, None)
    assert connect(agent, context, session)[0]
    before = workers(agent)
    agent.signal(signal.SIGHUP)
    wait_for(lambda: bool(agent.events("reloaded")) and not set(workers(agent)) & set(before), 90, "reload")
    resumed, session = connect(agent, context, session)
    assert not resumed
    assert connect(agent, context, session)[0]
