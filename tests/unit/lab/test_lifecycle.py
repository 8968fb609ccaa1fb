# SPDX-License-Identifier: GPL-3.0-or-later
"""In which order a host is switched off; podman and ssh only write down that they were called."""

from pathlib import Path
from typing import Any, cast

import pytest
from lab import lifecycle, power
from lab.lifecycle import Lifecycle
from lab.state import State
from lab.topology import load_lab

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("hard", [True, False])
def test_a_host_keeps_its_connections_until_it_is_off(
    hard: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[str] = []

    class Podman:
        def __call__(self, *command: str) -> None:
            called.append(command[0])

        def inspect(self, *_: object) -> list[dict[str, Any]]:
            return [{"State": {"Pid": 4321}}]

    def succeeds(command: list[str]) -> bool:
        called.append(" ".join(command[-3:-1]))
        return True

    monkeypatch.setattr(lifecycle, "succeeds", succeeds)
    monkeypatch.setattr(power, "cut", lambda pid: called.append(f"cut {pid}"))
    lab = load_lab(ROOT / "molecule/shared/topology.toml", "test")
    state = State(tmp_path, lab, sockets=tmp_path)
    Lifecycle(lab, state, {}, tmp_path, cast("Any", Podman()), cast("Any", None)).stop("relay1", hard=hard)
    # A playbook that lost its connection before would go on over a new one, to a host that is about to lose power.
    assert called == [*(["cut 4321"] if hard else []), "stop", "-O exit"]
