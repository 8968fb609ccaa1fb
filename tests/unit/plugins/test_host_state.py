# SPDX-License-Identifier: GPL-3.0-or-later
"""What has proved itself is kept, and what has not is undone."""

from typing import Any

import pytest
from ansible_collections.postroad.relay.plugins.module_utils.going_back import go_back
from ansible_collections.postroad.relay.plugins.module_utils.systemd_units import SERVICE

from tests.unit.plugins.relay_host import Relay


def test_a_trial_that_is_put_back_brings_accounts_back_as_well(relay: Relay) -> None:
    relay.state.accounts.write_text("alice")
    relay.proves("aaaaaaaa", "one")
    assert relay.state.begin(relay.state.trial, seconds=300)
    relay.runs("bbbbbbbb", "two", "other")
    relay.state.accounts.write_text("")
    assert relay.state.trial.put_back()
    assert relay.now() == ("aaaaaaaa", "one", "pw")
    assert relay.state.accounts.read_text() == "alice"


def test_what_was_applied_before_there_were_generations_is_the_first(relay: Relay) -> None:
    relay.state.applied.save(relay.runs("aaaaaaaa", "one"))
    assert relay.state.begin(relay.state.undo)
    assert relay.state.generations.current() == 1
    relay.runs("bbbbbbbb", "two")
    relay.state.keep(relay.state.state_on_disk("bbbbbbbb"))
    go_back(relay.state, "previous", check_mode=False)
    assert relay.now()[:2] == ("aaaaaaaa", "one")


def test_where_nothing_ran_there_is_no_trial(relay: Relay) -> None:
    assert not relay.state.begin(relay.state.undo)
    assert not relay.state.undo.pending


def test_the_way_back_leads_to_what_worked_and_not_to_what_a_broken_run_left(relay: Relay) -> None:
    relay.proves("aaaaaaaa", "one")
    relay.state.config.write_text("half-done")
    relay.state.begin(relay.state.undo)
    relay.runs("bbbbbbbb", "two")
    relay.state.undo.put_back()
    assert relay.now()[:2] == ("aaaaaaaa", "one")


def test_other_units_ask_for_a_restart(relay: Relay) -> None:
    changed: list[Any] = [relay.root / "units" / SERVICE]
    relay.state.take_up(changed)
    assert relay.calls == ["daemon-reload", "reset-failed", "restart"]


@pytest.mark.parametrize("changed", [True, False])
def test_accounts_set_apart_from_a_trial_outlast_it(relay: Relay, changed: bool) -> None:
    relay.state.accounts.write_text("alice, mallory")
    relay.proves("aaaaaaaa", "one")
    relay.state.begin(relay.state.trial, seconds=300)
    relay.state.accounts.write_text("alice, bob" + ", mallory" * changed)
    relay.state.accounts_made(relay.state.trial)
    relay.runs("bbbbbbbb", "two")
    # As accounts.yml: it may find the accounts that it wants there already.
    relay.state.accounts.write_text("alice, bob")
    relay.state.accounts_settled()
    assert relay.state.trial.put_back()
    assert relay.now()[:2] == ("aaaaaaaa", "one")
    assert relay.state.accounts.read_text() == "alice, bob"


def test_accounts_that_a_hand_changed_during_a_trial_stay(relay: Relay) -> None:
    relay.state.accounts.write_text("alice, mallory")
    relay.proves("aaaaaaaa", "one")
    relay.state.begin(relay.state.trial, seconds=300)
    relay.state.accounts_made(relay.state.trial)
    relay.runs("bbbbbbbb", "two")
    relay.state.accounts.write_text("alice")
    assert relay.state.trial.put_back()
    assert relay.state.accounts.read_text() == "alice"


def test_accounts_of_the_change_itself_go_with_it(relay: Relay) -> None:
    relay.state.accounts.write_text("alice")
    relay.proves("aaaaaaaa", "one")
    relay.state.begin(relay.state.trial, seconds=300)
    relay.state.accounts.write_text("alice, bob")
    relay.state.accounts_made(relay.state.trial)
    assert relay.state.trial.put_back()
    assert relay.state.accounts.read_text() == "alice"


def test_without_a_trial_accounts_are_nobody_elses_business(relay: Relay) -> None:
    relay.proves("aaaaaaaa", "one")
    relay.state.accounts_settled()
    assert not relay.state.trial.pending


def test_a_socket_that_is_down_is_opened(relay: Relay) -> None:
    relay.up = False
    relay.state.take_up([])
    assert relay.calls == ["reset-failed", "stop", "start", "restart"]
