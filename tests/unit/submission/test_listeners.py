# SPDX-License-Identifier: GPL-3.0-or-later
import os
import socket
import subprocess
import sys

import pytest

from relay_agent.config.schema import Listener
from relay_agent.submission.listeners import ListenError, inherited_sockets, open_listeners
from tests.ports import free_port


def listener(port: int, address: str = "127.0.0.1") -> Listener:
    return Listener(address=address, port=port, tls="none")


def test_binds_what_is_not_inherited() -> None:
    ((_, (bound,)),) = open_listeners([listener(free_port())])
    with bound, socket.create_connection(bound.getsockname()):
        assert not bound.get_inheritable()


def test_every_address_means_both_families() -> None:
    port = free_port()
    ((_, (bound,)),) = open_listeners([listener(port, "")])
    with bound, socket.create_connection(("127.0.0.1", port)):
        if socket.has_dualstack_ipv6():
            with socket.create_connection(("::1", port)):
                pass


def test_takes_the_inherited_socket_that_fits_and_closes_the_rest() -> None:
    first, second = socket.create_server(("127.0.0.1", 0)), socket.create_server(("127.0.0.1", 0))
    port = first.getsockname()[1]
    ((_, (taken,)),) = open_listeners([listener(port)], [second, first])
    with taken:
        assert taken is first
    assert second.fileno() == -1


def test_a_port_in_use_is_said_in_words() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ListenError, match=rf"cannot listen on 127\.0\.0\.1 port {port}: Address already in use"):
            open_listeners([listener(free_port()), listener(port)])


def test_systemd_hands_over_its_sockets() -> None:
    script = (
        "import os, sys; os.environ['LISTEN_PID'] = str(os.getpid());"
        "from relay_agent.submission.listeners import inherited_sockets as f;"
        "print([s.getsockname()[1] for s in f()], 'LISTEN_FDS' in os.environ, f())"
    )
    with socket.create_server(("127.0.0.1", 0)) as passed:
        port = passed.getsockname()[1]
        held = os.dup(passed.fileno())
        try:
            done = subprocess.run(
                [sys.executable, "-c", f"import os; os.dup2({held}, 3); exec({script!r})"],
                pass_fds=[held],
                env={**os.environ, "LISTEN_FDS": "1"},
                capture_output=True,
                text=True,
                check=True,
            )
        finally:
            os.close(held)
    assert done.stdout.strip() == f"[{port}] False []"


def test_sockets_meant_for_another_process_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LISTEN_PID", "1")
    monkeypatch.setenv("LISTEN_FDS", "1")
    assert inherited_sockets() == []
