# SPDX-License-Identifier: GPL-3.0-or-later
"""Which sockets the supervisor holds, and that a drained host holds none."""

from __future__ import annotations

import os
import socket

import pytest

from relay_agent.config.schema import Config
from relay_agent.supervisor.ports import Ports


@pytest.fixture
def config() -> Config:
    """A listener on a port that is free."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return Config.model_validate(
        {
            "hostname": "relay.test",
            "listener": [{"address": "127.0.0.1", "port": port, "tls": "none", "auth": "none"}],
            "submission": {"trusted_networks": ["127.0.0.0/8"]},
        }
    )


def _takes_connections(config: Config) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", config.listener[0].port), timeout=5):
            return True
    except ConnectionRefusedError:
        return False


def test_a_host_that_takes_mail_listens(config: Config) -> None:
    ports = Ports.open(config)
    assert _takes_connections(config)
    ports.close()
    assert not _takes_connections(config)


def test_a_drained_host_holds_no_port_and_closes_what_it_was_handed(config: Config) -> None:
    before = Ports.open(config)
    handed = [os.dup(fd) for fd in before.descriptors]
    before.close()
    assert _takes_connections(config)
    ports = Ports.open(config, handed, drained=True)
    assert ports.by_listener == [[]]
    assert not _takes_connections(config)
