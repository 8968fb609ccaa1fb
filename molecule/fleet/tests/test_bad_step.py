# SPDX-License-Identifier: GPL-3.0-or-later
"""A step of several relays, of which one alone does not work: the others of the step go back with it."""

from collections.abc import Callable
from dataclasses import dataclass
from subprocess import CompletedProcess

import pytest
from traffic.load import Load, Submissions
from traffic.mailboxes import Mailboxes

RELAYS = ["relay1", "relay2", "relay3"]
VARIABLES = {
    "relay_rollout_serial": ["100%"],
    # Something new for all, and a password that is wrong for one.
    "relay_agent_policy": {"messages_per_hour": 65432, "recipients_per_hour": 65432},
    "fleet_upstream_password": (
        "{{ 'wrong' if inventory_hostname == 'relay2' else hostvars.smarthost1.smarthost_password }}"
    ),
}


@dataclass(frozen=True)
class Story:
    """What was tried, and what each relay ran before and after."""

    rollout: CompletedProcess[str]
    submissions: Submissions
    before: dict[str, str]
    after: dict[str, str]


@pytest.fixture(scope="module")
def story(load: Load, playbook: Callable[..., CompletedProcess[str]], runs: Callable[[], dict[str, str]]) -> Story:
    """The load begins before the rollout and ends after it."""
    before = runs()
    with load.running() as submissions:
        rollout = playbook("rollout.yml", VARIABLES)
    return Story(rollout, submissions, before, runs())


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
