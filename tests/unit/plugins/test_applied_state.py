# SPDX-License-Identifier: GPL-3.0-or-later
"""Which action a difference asks for, and the record that it is decided by."""

from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.postroad.relay.plugins.module_utils.applied_state import (
    Action,
    AppliedState,
    AppliedStore,
    decide,
)

STATE = AppliedState(release="r", config="c", service="s", socket="l", reloadable="a")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, Action()),
        ({"reloadable": "new"}, Action(reload=True)),
        ({"config": "new", "reloadable": "new"}, Action(reload=True)),
        ({"release": "new"}, Action(reload=True)),
        ({"service": "new", "release": "new"}, Action(restart=True)),
        ({"service": "new"}, Action(restart=True)),
        ({"socket": "new", "config": "new"}, Action(restart_sockets=True)),
    ],
)
def test_the_gentlest_action_that_suffices(changes: dict[str, str], expected: Action) -> None:
    assert decide(STATE, replace(STATE, **changes), service_up=True, socket_up=True) == expected


def test_what_is_down_is_started() -> None:
    assert decide(STATE, STATE, service_up=False, socket_up=True) == Action(restart=True)
    assert decide(STATE, STATE, service_up=True, socket_up=False) == Action(restart_sockets=True)
    assert decide(None, STATE, service_up=True, socket_up=True) == Action(restart_sockets=True)


def test_the_record_gives_the_state_back(tmp_path: Path) -> None:
    store = AppliedStore(tmp_path / "applied")
    assert store.load() is None
    store.save(STATE)
    assert store.load() == STATE
    assert (tmp_path / "applied").stat().st_mode & 0o777 == 0o700
    store.save(replace(STATE, release="r2"))
    assert store.load() == replace(STATE, release="r2")


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"release": "r"}'])
def test_a_damaged_record_counts_as_none(tmp_path: Path, damage: str) -> None:
    store = AppliedStore(tmp_path)
    (tmp_path / "state.json").write_text(damage)
    assert store.load() is None
