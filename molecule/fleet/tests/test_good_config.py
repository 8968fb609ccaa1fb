# SPDX-License-Identifier: GPL-3.0-or-later
"""A new configuration goes through the whole fleet while mail comes in; then back again, by one command."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from subprocess import CompletedProcess

import pytest
from traffic.load import Load, Submissions
from traffic.mailboxes import Mailboxes
from traffic.relays import Relay

RELAYS = ["relay1", "relay2", "relay3"]
# Another one at each run, which may find the relays of an earlier one.
LIMIT = 100_000 + secrets.randbelow(900_000)
NEW = f"messages_per_hour = {LIMIT}"


@dataclass(frozen=True)
class Story:
    """What was done, and what each relay ran before, after the rollout, and after the roll-back."""

    rollout: CompletedProcess[str]
    rollback: CompletedProcess[str]
    submissions: Submissions
    before: dict[str, list[str]]
    between: dict[str, list[str]]
    after: dict[str, list[str]]


@pytest.fixture(scope="module")
def story(load: Load, playbook: Callable[..., CompletedProcess[str]], relays: dict[str, Relay]) -> Story:
    """The load begins before the rollout and ends after the roll-back."""

    def state() -> dict[str, list[str]]:
        script = "systemctl show --property=MainPID --value relay-agent; cat /etc/postroad/agent.toml"
        return {name: relay.host.check_output(script).splitlines() for name, relay in relays.items()}

    before = state()
    with load.running() as submissions:
        rollout = playbook(
            "rollout.yml", {"relay_agent_policy": {"messages_per_hour": LIMIT, "recipients_per_hour": LIMIT}}
        )
        between = state()
        rollback = playbook("rollback.yml", {"relay_rollback_to": "previous"})
    return Story(rollout, rollback, submissions, before, between, state())


def test_the_rollout_succeeds(story: Story) -> None:
    assert story.rollout.returncode == 0, story.rollout.stdout
    # A canary, a quarter, the rest.
    assert story.rollout.stdout.count("PLAY [One relay, then some, then the rest]") == 3


def test_so_does_the_rollback(story: Story) -> None:
    assert story.rollback.returncode == 0, story.rollback.stdout


@pytest.mark.parametrize("relay", RELAYS)
def test_it_is_used_by_the_same_process(relay: str, story: Story) -> None:
    assert NEW not in story.before[relay]
    assert NEW in story.between[relay]
    assert story.before[relay][0] == story.between[relay][0] == story.after[relay][0]


@pytest.mark.parametrize("relay", RELAYS)
def test_the_rollback_brings_the_old_one(relay: str, story: Story) -> None:
    assert story.after[relay] == story.before[relay]


@pytest.mark.parametrize("relay", RELAYS)
def test_there_was_a_load(relay: str, story: Story) -> None:
    of_relay = [each for each in story.submissions.attempts if each.relay == relay]
    for how in ("kept", "fresh"):
        assert sum(each.how == how for each in of_relay) >= 10


def test_not_one_submission_failed(story: Story) -> None:
    assert story.submissions.failed() == []


def test_not_one_message_is_lost_or_doubled(story: Story, mailboxes: Mailboxes) -> None:
    assert story.submissions.missing(mailboxes, seconds=30) == {}
