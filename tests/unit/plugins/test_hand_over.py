# SPDX-License-Identifier: GPL-3.0-or-later
"""Mail is taken from a drained host only, and its agent runs again whatever happens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.postroad.relay.plugins.module_utils.agent_queue import AgentQueueError, Waiting
from ansible_collections.postroad.relay.plugins.module_utils.hand_over import HandOver, HandOverError


class Host:
    """A host with three messages."""

    def __init__(self, root: Path) -> None:
        self.asked: list[str] = []
        self.failing = ""
        self.drained = root / "drained.json"
        self.drained.touch()
        self.parcel = root / "parcel"
        self.over = HandOver(self, self, self.drained)  # type: ignore[arg-type]

    def __call__(self, command: list[str], /) -> tuple[int, str, str]:
        self.asked.append(" ".join(command[1:]))
        return (1, "", "it refuses") if command[1] == self.failing else (0, "", "")

    def waiting(self) -> Waiting:
        return Waiting(3, 3, 0, 1)

    def pack(self, path: Path, *, leave: bool) -> dict[str, Any]:
        assert leave
        self.asked.append("pack")
        if self.failing == "pack":
            raise AgentQueueError("the disk is full")
        path.write_bytes(b"mail")
        return {"messages": 3, "entries": ["A"]}


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """A drained host."""
    return Host(tmp_path)


def test_the_agent_is_stopped_meanwhile(host: Host) -> None:
    assert host.over.take(host.parcel, check_mode=False) == {"changed": True, "messages": 3, "entries": ["A"]}
    assert host.asked == ["stop relay-agent.service", "pack", "start relay-agent.service"]


def test_it_runs_again_when_packing_fails(host: Host) -> None:
    host.failing = "pack"
    with pytest.raises(AgentQueueError, match="disk is full"):
        host.over.take(host.parcel, check_mode=False)
    assert host.asked[-1] == "start relay-agent.service"


@pytest.mark.parametrize("failing", ["stop", "start"])
def test_what_systemd_refuses_is_told(host: Host, failing: str) -> None:
    host.failing = failing
    with pytest.raises(HandOverError, match="it refuses"):
        host.over.take(host.parcel, check_mode=False)


def test_a_host_that_takes_mail_keeps_its_queue(host: Host) -> None:
    host.drained.unlink()
    with pytest.raises(HandOverError, match="only a drained host"):
        host.over.take(host.parcel, check_mode=False)
    assert host.asked == []


def test_check_mode_counts(host: Host) -> None:
    assert host.over.take(host.parcel, check_mode=True) == {"changed": True, "messages": 4, "entries": []}
    assert host.asked == []
