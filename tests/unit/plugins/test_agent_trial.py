# SPDX-License-Identifier: GPL-3.0-or-later
"""agent_trial: a change is judged, kept or put back."""

from dataclasses import asdict
from typing import Any

import pytest
from ansible_collections.postroad.relay.plugins.module_utils.trial import TrialError
from ansible_collections.postroad.relay.plugins.modules.agent_trial import carry_out

from tests.unit.plugins.machine import Machine
from tests.unit.plugins.relay_host import Relay

WELL = {"uptime": 9.0, "counters": {}, "waits": {}}


def step(relay: Relay, name: str) -> dict[str, Any]:
    return carry_out(name, relay.state, relay, watch=0.0)


@pytest.fixture
def on_trial(relay: Relay) -> Relay:
    relay.proves("aaaaaaaa", "one")
    relay.state.begin(relay.state.trial, seconds=300, before=WELL)
    relay.state.trial.note(applied=asdict(relay.runs("bbbbbbbb", "two")), switched=WELL)
    return relay


def test_it_is_judged(on_trial: Relay) -> None:
    assert step(on_trial, "judge") == {"changed": False, "problems": ["no worker takes mail"]}
    assert on_trial.state.trial.pending


def test_what_is_kept_can_be_gone_back_to(on_trial: Relay) -> None:
    assert step(on_trial, "keep") == {"changed": True, "generation": 2, "removed_releases": []}
    assert not on_trial.state.trial.pending
    assert on_trial.now()[:2] == ("bbbbbbbb", "two")
    assert on_trial.state.applied.load() == on_trial.state.state_on_disk("bbbbbbbb")


def test_what_was_kept_can_be_taken_back(on_trial: Relay) -> None:
    step(on_trial, "keep")
    result = step(on_trial, "undo")
    assert "put back" in result["state"]
    assert [(each["id"], each["current"]) for each in result["generations"]] == [(2, False), (1, True)]
    assert on_trial.now()[:2] == ("aaaaaaaa", "one")
    with pytest.raises(TrialError, match="something else was changed"):
        step(on_trial, "undo")


def test_it_is_put_back(on_trial: Relay) -> None:
    assert "put back" in step(on_trial, "put_back")["state"]
    assert on_trial.now()[:2] == ("aaaaaaaa", "one")
    assert on_trial.state.generations.current() == 1


def test_where_none_is_on_trial_nothing_is_put_back(relay: Relay) -> None:
    relay.proves("aaaaaaaa", "one")
    assert step(relay, "put_back") == {"changed": False, "state": "No change is on trial there."}
    assert relay.calls == []


@pytest.mark.parametrize("name", ["judge", "keep"])
def test_without_a_trial_there_is_nothing_to_do(relay: Relay, name: str) -> None:
    relay.proves("aaaaaaaa", "one")
    with pytest.raises(TrialError, match="no change is on trial here any more"):
        step(relay, name)
    assert relay.now()[:2] == ("aaaaaaaa", "one")


def test_as_ansible_runs_it(machine: Machine) -> None:
    result = machine.module("agent_trial", {"step": "keep"})
    assert result["failed"]
    assert "no change is on trial" in result["msg"]
    assert machine.module("agent_trial", {"step": "keep"}, check=True)["changed"] is False
