# SPDX-License-Identifier: GPL-3.0-or-later
"""A step of several relays, of which one alone does not work: the others of the step go back with it."""

from collections.abc import Callable

import pytest
from traffic.mailboxes import Mailboxes
from traffic.rollout import Story

RELAYS = ["relay1", "relay2", "relay3"]
VARIABLES = {
    "relay_rollout_serial": ["100%"],
    # Something new for all, and a password that is wrong for one.
    "relay_agent_policy": {"messages_per_hour": 65432, "recipients_per_hour": 65432},
    "fleet_upstream_password": (
        "{{ 'wrong' if inventory_hostname == 'relay2' else hostvars.smarthost1.smarthost_password }}"
    ),
}


@pytest.fixture(scope="module")
def story(rolled_out: Callable[..., Story]) -> Story:
    return rolled_out(VARIABLES)


def test_it_says_which_one_it_was(story: Story) -> None:
    assert story.rollout.returncode != 0
    assert "relay2: 6 of 6 probe messages did not arrive" in story.rollout.stdout
    for relay in ("relay1", "relay3"):
        assert f"{relay}: 6 of 6" not in story.rollout.stdout


@pytest.mark.parametrize("relay", RELAYS)
def test_every_relay_runs_what_it_ran_before(relay: str, story: Story) -> None:
    assert f"{relay}: what it ran before. Release" in story.rollout.stdout
    assert story.after[relay] == story.before[relay]


def test_not_one_submission_failed(story: Story) -> None:
    assert len(story.submissions.attempts) >= 60
    assert story.submissions.failed() == []


def test_not_one_message_is_lost_or_doubled(story: Story, mailboxes: Mailboxes) -> None:
    assert story.submissions.missing(mailboxes, seconds=40) == {}
