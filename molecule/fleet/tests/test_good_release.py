# SPDX-License-Identifier: GPL-3.0-or-later
"""A new release of the agent goes through the whole fleet while mail comes in."""

from collections.abc import Callable
from pathlib import Path

import pytest
from traffic.mailboxes import Mailboxes
from traffic.rollout import Story

RELAYS = ["relay1", "relay2", "relay3"]


@pytest.fixture(scope="module")
def story(rolled_out: Callable[..., Story], patched: Callable[[str, str, str], Path]) -> Story:
    return rolled_out(
        {"relay_rollout_serial": [1, "100%"]},
        patched("__init__.py", "__all__ = ", "# A release that does the same.\n__all__ = "),
    )


def test_the_rollout_succeeds(story: Story) -> None:
    assert story.rollout.returncode == 0, story.rollout.stdout


@pytest.mark.parametrize("relay", RELAYS)
def test_the_same_process_has_become_the_new_release(relay: str, story: Story) -> None:
    pid, release, *_ = story.after[relay].splitlines()
    earlier_pid, earlier_release, *_ = story.before[relay].splitlines()
    assert release != earlier_release
    assert pid == earlier_pid


def test_not_one_submission_failed(story: Story) -> None:
    assert len(story.submissions.attempts) >= 60
    assert story.submissions.failed() == []


def test_not_one_message_is_lost_or_doubled(story: Story, mailboxes: Mailboxes) -> None:
    assert story.submissions.missing(mailboxes, seconds=30) == {}
