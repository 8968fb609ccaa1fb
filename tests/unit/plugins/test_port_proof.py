# SPDX-License-Identifier: GPL-3.0-or-later
"""Ports as the controller finds them."""

import socket
import threading
import time

import pytest
from ansible_collections.postroad.relay.plugins.plugin_utils.port_proof import closed_ports, resolvable


def listener() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))


def unused() -> int:
    with listener() as found:
        return int(found.getsockname()[1])


def test_open_ones_are_left_out_and_closed_ones_have_a_reason() -> None:
    closed = unused()
    with listener() as opened:
        found = closed_ports("127.0.0.1", [opened.getsockname()[1], closed, closed], seconds=0.2)
    assert found == {closed: "connection refused"}
    assert closed_ports("127.0.0.1", [], seconds=5) == {}


def test_one_that_opens_in_time_is_open() -> None:
    port = unused()
    servers = []

    def begin() -> None:
        time.sleep(0.3)
        servers.append(socket.create_server(("127.0.0.1", port)))

    thread = threading.Thread(target=begin)
    thread.start()
    try:
        assert closed_ports("127.0.0.1", [port], seconds=5) == {}
    finally:
        thread.join()
        servers[0].close()


def test_no_answer_is_said_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(*args: object, **options: object) -> None:
        raise TimeoutError("timed out")

    monkeypatch.setattr(socket, "create_connection", nothing)
    assert closed_ports("198.51.100.1", [587], seconds=0) == {587: "no answer"}


def test_a_name_of_nobody_s_is_not_resolvable() -> None:
    assert resolvable("127.0.0.1")
    assert not resolvable("relay.invalid")
    assert not resolvable("a" * 70 + ".invalid")
