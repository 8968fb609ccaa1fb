# SPDX-License-Identifier: GPL-3.0-or-later
"""Changes that every check lets through and that do not work: the canary goes back, the others see nothing of it."""

from collections.abc import Callable
from pathlib import Path

import pytest
from traffic.mailboxes import Mailboxes
from traffic.rollout import Story

GREET = "    async def greet(self) -> None:\n"
DEAF = "        raise TimeoutError('a release that hears no greeting')\n"


@pytest.fixture(scope="module", params=["configuration", "release"])
def story(
    request: pytest.FixtureRequest, rolled_out: Callable[..., Story], patched: Callable[[str, str, str], Path]
) -> Story:
    """A password of the upstream relay that is wrong; a release that starts, takes mail, and cannot deliver any."""
    if request.param == "configuration":
        return rolled_out({"fleet_upstream_password": "wrong"})
    return rolled_out({}, patched("delivery/client.py", GREET, GREET + DEAF))


def test_the_rollout_fails_and_says_what_and_where(story: Story) -> None:
    assert story.rollout.returncode != 0
    said = story.rollout.stdout
    assert "relay1: 6 of 6 probe messages did not arrive" in said
    assert "ports 587, 2525, 8025, 465, 2465, 443" in said
    assert "were put back; the agent runs." in said
    assert "relay2, relay3: not touched" in said


def test_the_canary_runs_what_it_ran_before(story: Story) -> None:
    assert story.after["relay1"] == story.before["relay1"]


@pytest.mark.parametrize("relay", ["relay2", "relay3"])
def test_the_others_were_left_alone(relay: str, story: Story) -> None:
    assert story.after[relay] == story.before[relay]


def test_not_one_submission_failed(story: Story) -> None:
    assert len(story.submissions.attempts) >= 60
    assert story.submissions.failed() == []


def test_what_the_canary_took_meanwhile_arrives(story: Story, mailboxes: Mailboxes) -> None:
    assert story.submissions.missing(mailboxes, seconds=40) == {}
