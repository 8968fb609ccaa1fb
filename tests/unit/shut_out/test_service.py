# SPDX-License-Identifier: GPL-3.0-or-later
"""The service: from a datagram to the filter's set, over a restart, and when the filter refuses."""

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from relay_agent.observability.log import EventLog
from relay_agent.policy.notices import tell_wrong_password
from relay_agent.shut_out import kernel, service
from relay_agent.shut_out.ledger import Ledger
from relay_agent.shut_out.service import Keeper, inherited_socket, read_state
from relay_agent.shut_out.settings import Settings

PEER = "198.51.100.7"


class Log(EventLog):
    def __init__(self) -> None:
        self.names: list[str] = []

    def event(self, name: str, *, level: str = "info", **fields: object) -> None:
        self.names.append(name)


@pytest.fixture
def nft(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """What the filter was asked for."""
    asked: list[tuple[str, Any]] = []
    monkeypatch.setattr(kernel, "add", lambda seconds: asked.append(("add", dict(seconds))))
    monkeypatch.setattr(kernel, "remove", lambda addresses: asked.append(("remove", list(addresses))))
    return asked


@pytest.fixture
def keeper(tmp_path: Path) -> Iterator[Keeper]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(str(tmp_path / "notices"))
        yield Keeper(channel, Ledger(Settings(after_shut_outs=2)), tmp_path / "active.json", Log())


def notice(account: str = "0" * 16, shut_out: int = 900) -> bytes:
    return json.dumps({"peer": PEER, "account": account, "shut_out": shut_out}).encode()


def log_of(keeper: Keeper) -> list[str]:
    assert isinstance(keeper._log, Log)
    return keeper._log.names


def test_enough_notices_shut_out_and_are_remembered(keeper: Keeper, nft: list[Any], tmp_path: Path) -> None:
    keeper.take([notice(), b"junk"])
    assert nft == []
    keeper.take([notice()])
    assert nft == [("add", {ip_address(PEER): 900})]
    assert log_of(keeper) == ["notices_refused", "address_shut_out"]
    assert read_state(tmp_path / "active.json").keys() == {ip_address(PEER)}


def test_a_release_is_done_and_remembered(keeper: Keeper, nft: list[Any], tmp_path: Path) -> None:
    keeper.take([notice(), notice()])
    keeper.take([json.dumps({"release": PEER}).encode()])
    assert nft[-1] == ("remove", [ip_address(PEER)])
    assert read_state(tmp_path / "active.json") == {}
    keeper.renew()
    assert nft[-1][0] == "remove"


def test_sets_that_were_emptied_are_filled_again(keeper: Keeper, nft: list[Any]) -> None:
    keeper.take([notice(), notice()])
    nft.clear()
    keeper.renew()
    ((what, seconds),) = nft
    assert what == "add"
    assert 890 < seconds[ip_address(PEER)] <= 900


def test_a_filter_that_refuses_is_told_of_once(keeper: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(seconds: object) -> None:
        raise kernel.FilterError("no table")

    monkeypatch.setattr(kernel, "add", refuse)
    keeper.take([notice(), notice()])
    keeper.renew()
    keeper.renew()
    assert log_of(keeper) == ["address_shut_out", "filter_refused"]


def test_a_state_that_is_damaged_is_none(tmp_path: Path) -> None:
    path = tmp_path / "active.json"
    for text in ("", "[", "[]", '{"x": 1, "127.0.0.1": 5, "198.51.100.9": true}'):
        path.write_text(text)
        assert read_state(path) == {}
    assert read_state(tmp_path / "none") == {}


def test_without_systemd_s_socket_it_does_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LISTEN_PID", "1")
    with pytest.raises(OSError, match=r"postroad-shut-out\.service"):
        inherited_socket()


def test_runs_from_the_agent_s_notice_to_its_end(
    keeper: Keeper, nft: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "GATHER", 0.01)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)}

    def stranger() -> None:
        for _ in range(2):
            assert tell_wrong_password(str(tmp_path / "notices"), PEER, "alice", 900.0)
        deadline = time.monotonic() + 10
        while not nft and time.monotonic() < deadline:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGHUP)

    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})  # as after a careless parent
    thread = threading.Thread(target=stranger)
    thread.start()
    try:
        keeper.run()
    finally:
        thread.join()
        signal.set_wakeup_fd(-1)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        for number, handler in handlers.items():
            signal.signal(number, handler)
    assert nft == [("add", {ip_address(PEER): 900})]
