# SPDX-License-Identifier: GPL-3.0-or-later
"""An earlier release and configuration come back together, by a reload, or not at all."""

import pytest
from ansible_collections.postroad.relay.plugins.module_utils.generations import GenerationError
from ansible_collections.postroad.relay.plugins.module_utils.going_back import go_back
from ansible_collections.postroad.relay.plugins.module_utils.trial import TrialError

from tests.unit.plugins.relay_host import Relay


def test_going_back_and_forth_without_a_restart(relay: Relay) -> None:
    relay.proves("aaaaaaaa", "one", "pw1")
    relay.proves("bbbbbbbb", "two", "pw2")
    result = go_back(relay.state, "previous", check_mode=False)
    assert result["changed"]
    assert relay.now() == ("aaaaaaaa", "one", "pw1")
    assert "reload" in relay.calls
    assert "restart" not in relay.calls
    assert relay.state.applied.load() == relay.state.state_on_disk("aaaaaaaa")
    assert not relay.state.trial.pending
    go_back(relay.state, "previous", check_mode=False)
    assert relay.now() == ("bbbbbbbb", "two", "pw2")


def test_what_is_in_use_needs_no_going_back(relay: Relay) -> None:
    number = relay.proves("aaaaaaaa", "one")
    assert go_back(relay.state, str(number), check_mode=False) == {"changed": False}
    assert relay.calls == []
    with pytest.raises(GenerationError):
        go_back(relay.state, "previous", check_mode=False)


def test_check_mode_shows_the_way_and_stays(relay: Relay) -> None:
    relay.proves("aaaaaaaa", "one\n", "pw1")
    relay.proves("bbbbbbbb", "two\n", "pw2")
    result = go_back(relay.state, "1", check_mode=True)
    assert result["changed"]
    assert "release bbbbbbbb" in result["diff"]["before"]
    assert result["diff"]["after"].endswith("\none\n")
    assert "pw" not in str(result)
    assert relay.now() == ("bbbbbbbb", "two\n", "pw2")
    assert not go_back(relay.state, "2", check_mode=True)["changed"]


def test_what_the_agent_does_not_take_up_is_undone(relay: Relay) -> None:
    relay.proves("aaaaaaaa", "one")
    relay.proves("bbbbbbbb", "two")
    relay.refuses = "one"
    with pytest.raises(
        TrialError, match=r"generation 1 was not taken up: .*\nRelease bbbbbbbb .* put back; the agent runs"
    ):
        go_back(relay.state, "previous", check_mode=False)
    assert relay.now() == ("bbbbbbbb", "two", "pw")
    assert relay.state.generations.current() == 2


def test_accounts_stay_when_an_earlier_configuration_comes_back(relay: Relay) -> None:
    relay.state.accounts.write_text("alice, mallory")
    relay.proves("aaaaaaaa", "one")
    relay.state.accounts.write_text("alice")
    relay.proves("bbbbbbbb", "two")
    go_back(relay.state, "previous", check_mode=False)
    assert relay.state.accounts.read_text() == "alice"


def test_going_back_ends_a_trial_first(relay: Relay) -> None:
    relay.proves("aaaaaaaa", "one")
    relay.proves("aaaaaaaa", "two")
    relay.state.begin(relay.state.trial, seconds=300)
    relay.runs("bbbbbbbb", "three")
    go_back(relay.state, "previous", check_mode=False)
    assert relay.now()[:2] == ("aaaaaaaa", "one")
    assert not relay.state.trial.pending
