# SPDX-License-Identifier: GPL-3.0-or-later
"""Which releases need the queue brought back, and in what order that happens."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest
from ansible_collections.postroad.relay.plugins.module_utils.queue_schema import QueueSchemaError, bring_back
from ansible_collections.postroad.relay.plugins.module_utils.release_store import ReleaseStore

UP = "Id=relay-agent.socket\nActiveState=active\n\nId=relay-agent.service\nActiveState=active\n"

OLD, NEW = "0" * 12, "1" * 12


class Host:
    """Two installed releases, the newer of them current, each with a schema."""

    def __init__(self, root: Path, schemas: dict[str, str], failing: str = "") -> None:
        self.store = ReleaseStore(root, root / "relay-agent")
        self.asked: list[list[str]] = []
        self._schemas = schemas
        self._failing = failing.split()
        for release in schemas:
            (self.store.path(release) / "bin").mkdir(parents=True)
            (self.store.path(release) / "release.json").touch()
        self.store.switch(NEW)

    def __call__(self, command: list[str], /) -> tuple[int, str, str]:
        if command[0].endswith("python"):
            said = self._schemas[Path(command[0]).parts[-3]]
            return (0, f"{said}\n", "") if said else (1, "", "No module named relay_agent.queue.schema")
        if command[1] == "show":
            return 0, UP, ""
        self.asked.append(command)
        return (1, "", "it refuses") if set(self._failing) & set(command) else (0, "", "")

    def words(self) -> list[str]:
        return [command[2] if command[1] == "queue" else command[1] for command in self.asked]


def test_the_newer_release_brings_the_queue_back_with_everything_stopped(tmp_path: Path) -> None:
    host = Host(tmp_path, {OLD: "1", NEW: "2"})
    assert bring_back(host.store, OLD, host) == "the queue was brought to schema 1"
    assert host.asked == [
        ["systemctl", "stop", "relay-agent.socket", "relay-agent.service"],
        [str(tmp_path / f"releases/{NEW}/bin/relay-agent"), "queue", "downgrade", "--schema", "1"],
    ]


@pytest.mark.parametrize("old", ["2", "3"])
def test_with_the_same_schema_or_a_newer_one_nothing_is_touched(tmp_path: Path, old: str) -> None:
    host = Host(tmp_path, {OLD: old, NEW: "2"})
    assert bring_back(host.store, OLD, host) == ""
    assert host.asked == []


def test_of_the_current_release_nobody_is_asked(tmp_path: Path) -> None:
    host = Host(tmp_path, {NEW: ""})
    assert bring_back(host.store, NEW, host) == ""


@pytest.mark.parametrize("failing", ["stop", "downgrade"])
def test_what_goes_wrong_is_told(tmp_path: Path, failing: str) -> None:
    host = Host(tmp_path, {OLD: "1", NEW: "2"}, failing)
    with pytest.raises(QueueSchemaError, match="it refuses"):
        bring_back(host.store, OLD, host)


def test_the_newer_release_is_started_again_when_the_queue_cannot_be_brought_back(tmp_path: Path) -> None:
    host = Host(tmp_path, {OLD: "1", NEW: "2"}, "downgrade")
    with pytest.raises(QueueSchemaError, match=r"schema 1: .* it refuses\nThe agent was started again.* free space"):
        bring_back(host.store, OLD, host)
    assert host.words() == ["stop", "downgrade", "reset-failed", "stop", "start", "restart"]
    assert host.store.current() == NEW


def test_an_agent_that_does_not_start_again_is_said_to_be_stopped(tmp_path: Path) -> None:
    host = Host(tmp_path, {OLD: "1", NEW: "2"}, "downgrade restart")
    with pytest.raises(QueueSchemaError, match=r"stopped, and did not start again \(.* run `systemctl start "):
        bring_back(host.store, OLD, host)


@pytest.mark.parametrize("failing", ["", "downgrade"])
def test_units_that_are_about_to_start_are_neither_stopped_nor_started(tmp_path: Path, failing: str) -> None:
    host = Host(tmp_path, {OLD: "1", NEW: "2"}, failing)
    with pytest.raises(QueueSchemaError, match="it refuses") if failing else nullcontext():
        assert bring_back(host.store, OLD, host, booting=True)
    assert host.words() == ["downgrade"]


def test_a_release_that_does_not_say(tmp_path: Path) -> None:
    host = Host(tmp_path, {OLD: "", NEW: "2"})
    with pytest.raises(QueueSchemaError, match=f"release {OLD} does not say"):
        bring_back(host.store, OLD, host)
    assert host.asked == []
