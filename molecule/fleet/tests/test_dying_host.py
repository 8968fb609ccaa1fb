# SPDX-License-Identifier: GPL-3.0-or-later
"""The canary loses power while the new configuration is on trial there."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from subprocess import Popen
from typing import Any

import pytest
from traffic.load import Load, Submissions
from traffic.mailboxes import Mailboxes
from traffic.relays import Relay

# What the relays run begins with the process, which is another one after a new start.
PROCESS_LINES = 1


@dataclass(frozen=True)
class Story:
    """What was tried, and what each relay ran before, and after the canary had its power again."""

    status: int
    said: str
    submissions: Submissions
    before: dict[str, str]
    after: dict[str, str]
    journal: str


@pytest.fixture(scope="module")
def story(
    load: Load,
    start: Callable[..., Popen[str]],
    relays: dict[str, Relay],
    runs: Callable[[], dict[str, str]],
    power: Callable[..., None],
) -> Story:
    """The load begins before the rollout and ends when the canary is back."""
    before = runs()
    canary = relays["relay1"].host
    with load.running() as submissions:
        policy = {"messages_per_hour": 76543, "recipients_per_hour": 76543}
        rollout = start("rollout.yml", {"relay_agent_policy": policy, "relay_rollout_watch": 60})
        _wait_for(canary, "grep -q 76543 /etc/postroad/agent.toml && test -e /opt/postroad/trial/record.json")
        power("stop", "relay1", "--hard")
        said, _ = rollout.communicate(timeout=300)
        power("start", "relay1")
        assert relays["relay1"].wait_until_running(), "the agent did not start after the power cut"
    journal = canary.check_output("journalctl --boot --output=cat --identifier=relay-agent-put-back")
    return Story(rollout.returncode, said, submissions, before, runs(), journal)


def _wait_for(host: Any, condition: str) -> None:
    deadline = time.monotonic() + 180  # a rollout on a busy machine
    while host.run(condition).rc != 0:
        assert time.monotonic() < deadline, "the rollout did not get so far"
        time.sleep(0.2)


def test_the_rollout_fails_and_says_what_and_where(story: Story) -> None:
    assert story.status != 0
    assert "relay1: " in story.said
    assert "it puts back what it ran before by itself" in story.said
    assert "relay2, relay3: not touched" in story.said


def test_the_canary_comes_up_with_what_has_proved_itself(story: Story) -> None:
    assert "were put back" in story.journal, f"the host's journal: {story.journal!r}\n{story.said}"
    assert story.after["relay1"].splitlines()[PROCESS_LINES:] == story.before["relay1"].splitlines()[PROCESS_LINES:]


@pytest.mark.parametrize("relay", ["relay2", "relay3"])
def test_the_others_were_left_alone(relay: str, story: Story) -> None:
    assert story.after[relay] == story.before[relay]


def test_no_submission_to_the_others_failed(story: Story) -> None:
    assert len(story.submissions.accepted("relay2", "relay3")) >= 30
    assert story.submissions.failed("relay2", "relay3") == []


def test_nothing_that_was_accepted_is_lost(story: Story, mailboxes: Mailboxes) -> None:
    accepted = story.submissions.accepted()
    # More than one is what a power cut may do (RFC 5321 6.1).
    assert [token for token, count in mailboxes.wait_for(accepted, seconds=40).items() if count == 0] == []
