# SPDX-License-Identifier: GPL-3.0-or-later
"""What is asked of systemctl, and what is made of its answers."""

import json
from pathlib import Path

import pytest
from ansible_collections.postroad.relay.plugins.module_utils.systemd_units import (
    SERVICE,
    SOCKET,
    UnitError,
    Units,
    UnitState,
)

UP = "Id={}\nActiveState=active\nSubState=running\nUnitFileState=enabled\nNeedDaemonReload=no\n"
BOTH_UP = UP.format(SOCKET) + "\n" + UP.format(SERVICE)


class Systemctl:
    """Answers `show` with a text and the rest with success, unless told that it fails."""

    def __init__(self, show: str = BOTH_UP, failing: str = "") -> None:
        self.show = show
        self.failing = failing
        self.calls: list[list[str]] = []
        self.reloads = 0

    def __call__(self, args: list[str], /) -> tuple[int, str, str]:
        self.calls.append(args[1:])
        if args[1] == self.failing:
            return 1, "", "Job for it failed.\nSee the journal.\n"
        if args[1] == "status":
            self.reloads += 1
            reloads = {"done": self.reloads, "refused": 0}
            return 0, json.dumps({"running": True, "pid": 1, "reloads": reloads}), ""
        return 0, self.show if args[1] == "show" else "", ""

    def verbs(self) -> list[str]:
        return [call[0] for call in self.calls]


def test_on_a_drained_host_a_socket_that_is_down_is_as_it_should_be(tmp_path: Path) -> None:
    down = BOTH_UP.replace("ActiveState=active", "ActiveState=inactive", 1)
    assert not Units(Systemctl(down), tmp_path / "drained.json").states()[SOCKET].active
    (tmp_path / "drained.json").touch()
    assert Units(Systemctl(down), tmp_path / "drained.json").states()[SOCKET].active
    assert not Units(Systemctl(""), tmp_path / "drained.json").states()[SERVICE].active


def test_states_are_read() -> None:
    states = Units(Systemctl(BOTH_UP.replace("NeedDaemonReload=no", "NeedDaemonReload=yes", 1))).states()
    assert states[SOCKET] == UnitState(active=True, enabled=True, needs_reload=True)
    assert states[SERVICE] == UnitState(active=True, enabled=True)


def test_units_that_do_not_exist_are_down() -> None:
    text = f"Id={SOCKET}\nActiveState=inactive\nUnitFileState=\n\nId={SERVICE}\nActiveState=failed\n"
    assert Units(Systemctl(text)).states() == {SOCKET: UnitState(), SERVICE: UnitState()}


def test_the_ports_stay_open_over_a_restart() -> None:
    systemctl = Systemctl()
    Units(systemctl).restart(sockets=False)
    assert systemctl.verbs() == ["reset-failed", "restart", "show"]
    assert ["restart", SERVICE] in systemctl.calls


def test_new_ports_need_both_units_stopped_first() -> None:
    systemctl = Systemctl()
    Units(systemctl).restart(sockets=True)
    assert systemctl.verbs() == ["reset-failed", "stop", "start", "restart", "show"]


def test_the_journal_has_the_words_of_both_units() -> None:
    systemctl = Systemctl()
    Units(systemctl).journal(since=1000.4)
    assert {f"--unit={SOCKET}", f"--unit={SERVICE}", "--since=@1000"} <= set(systemctl.calls[0])


def test_a_start_that_fails_is_told() -> None:
    with pytest.raises(UnitError, match=r"restart relay-agent\.service: Job for it failed"):
        Units(Systemctl(failing="restart")).restart(sockets=False)


def test_a_unit_that_stops_right_away_is_told() -> None:
    with pytest.raises(UnitError, match=r"relay-agent\.service stopped right after"):
        Units(Systemctl(BOTH_UP.replace("active", "failed", 2).replace("failed", "active", 1))).reload()
