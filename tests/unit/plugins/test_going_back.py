# SPDX-License-Identifier: GPL-3.0-or-later
"""An earlier release and configuration come back together, by a reload, or not at all."""

import shutil
from dataclasses import asdict

import pytest
from ansible_collections.postroad.relay.plugins.module_utils.generations import GenerationError
from ansible_collections.postroad.relay.plugins.module_utils.going_back import go_back, take_back
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


def test_where_the_queue_cannot_be_brought_back_everything_stays_and_runs(relay: Relay) -> None:
    relay.proves("aaaaaaaa", "one")
    relay.proves("bbbbbbbb", "two")
    relay.schemas, relay.disk_full = {"aaaaaaaa": 1, "bbbbbbbb": 2}, True
    with pytest.raises(TrialError, match=r"(?s)disk is full\nThe agent was started again, .*then try again\.$"):
        go_back(relay.state, "previous", check_mode=False)
    assert relay.up
    assert relay.now() == ("bbbbbbbb", "two", "pw")
    assert relay.state.generations.current() == 2
    relay.disk_full = False
    go_back(relay.state, "previous", check_mode=False)
    assert relay.up
    assert relay.now() == ("aaaaaaaa", "one", "pw")


def test_an_earlier_release_that_does_not_start_leaves_the_newer_one_running(relay: Relay) -> None:
    relay.proves("aaaaaaaa", "one")
    relay.proves("bbbbbbbb", "two")
    relay.schemas, relay.refuses = {"aaaaaaaa": 1, "bbbbbbbb": 2}, "one"
    with pytest.raises(TrialError, match=r"Release bbbbbbbb .* put back; the agent runs"):
        go_back(relay.state, "previous", check_mode=False)
    assert relay.up
    assert relay.now() == ("bbbbbbbb", "two", "pw")


def test_accounts_that_a_hand_changed_meanwhile_survive_a_failure(relay: Relay) -> None:
    relay.state.accounts.write_text("alice, mallory")
    relay.proves("aaaaaaaa", "one")
    relay.proves("bbbbbbbb", "two")
    relay.refuses = "one"
    relay.when["reload"] = lambda: relay.state.accounts.write_text("alice")
    with pytest.raises(TrialError):
        go_back(relay.state, "previous", check_mode=False)
    assert relay.state.accounts.read_text() == "alice"


def confirmed(relay: Relay, release: str, config: str, accounts: str) -> int:
    """A change that was on trial and then kept, as a rollout makes it; its generation."""
    relay.state.begin(relay.state.trial, seconds=300)
    relay.state.accounts.write_text(accounts)
    relay.state.accounts_made(relay.state.trial)
    relay.state.trial.note(applied=asdict(relay.runs(release, config)))
    number, _ = relay.state.keep(relay.state.state_on_disk(release))
    relay.calls.clear()
    return number


def test_a_kept_change_of_accounts_alone_is_taken_back_and_nothing_else(relay: Relay) -> None:
    relay.state.accounts.write_text("alice")
    relay.proves("aaaaaaaa", "one")
    relay.proves("bbbbbbbb", "two")
    assert confirmed(relay, "bbbbbbbb", "two", "alice, bob") == 2
    assert "put back; the agent runs" in take_back(relay.state)
    assert relay.now()[:2] == ("bbbbbbbb", "two")
    assert relay.state.accounts.read_text() == "alice"
    assert "reload" in relay.calls
    assert relay.state.generations.current() == 2


def test_a_kept_release_is_taken_back_with_its_accounts(relay: Relay) -> None:
    relay.state.accounts.write_text("alice")
    relay.proves("aaaaaaaa", "one")
    assert confirmed(relay, "bbbbbbbb", "two", "alice, bob") == 2
    take_back(relay.state)
    assert relay.now()[:2] == ("aaaaaaaa", "one")
    assert relay.state.accounts.read_text() == "alice"
    assert relay.state.generations.current() == 1
    assert relay.state.applied.load() == relay.state.state_on_disk("aaaaaaaa")
    with pytest.raises(TrialError, match="something else was changed"):
        take_back(relay.state)


def test_who_was_shut_out_after_a_change_was_kept_stays_so_when_it_is_taken_back(relay: Relay) -> None:
    relay.state.accounts.write_text("alice, mallory")
    relay.proves("aaaaaaaa", "one")
    confirmed(relay, "bbbbbbbb", "two", "alice, bob, mallory")
    relay.state.accounts.write_text("alice, bob")
    relay.state.accounts_settled()
    take_back(relay.state)
    assert relay.now()[:2] == ("aaaaaaaa", "one")
    assert relay.state.accounts.read_text() == "alice, bob"


def test_a_kept_change_that_cannot_be_taken_back_stays(relay: Relay) -> None:
    relay.state.accounts.write_text("alice")
    relay.proves("aaaaaaaa", "one")
    confirmed(relay, "bbbbbbbb", "two", "alice, bob")
    relay.refuses = "one"
    with pytest.raises(TrialError, match=r"(?s)failed, too: .*Release bbbbbbbb .* put back; the agent runs"):
        take_back(relay.state)
    assert relay.up
    assert relay.now()[:2] == ("bbbbbbbb", "two")
    assert relay.state.accounts.read_text() == "alice, bob"


def test_after_any_other_change_there_is_nothing_to_take_back(relay: Relay) -> None:
    relay.proves("aaaaaaaa", "one")
    confirmed(relay, "bbbbbbbb", "two", "")
    relay.proves("bbbbbbbb", "three")
    with pytest.raises(TrialError, match="was not taken back"):
        take_back(relay.state)
    confirmed(relay, "bbbbbbbb", "four", "")
    relay.state.begin(relay.state.trial, seconds=300)
    relay.state.trial.put_back()
    with pytest.raises(TrialError, match="was not taken back"):
        take_back(relay.state)
    assert relay.now()[:2] == ("bbbbbbbb", "four")


def test_a_way_back_that_cannot_be_kept_does_not_hinder_what_is_confirmed(relay: Relay) -> None:
    relay.proves("aaaaaaaa", "one")
    relay.state.begin(relay.state.trial, seconds=300)
    shutil.rmtree(relay.state.trial.directory / "before")
    assert relay.proves("bbbbbbbb", "two") == 2
    assert not relay.state.kept.pending
