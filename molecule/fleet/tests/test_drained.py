# SPDX-License-Identifier: GPL-3.0-or-later
"""A rollout while a relay is drained, and mail waits at another for a host that does not answer."""

import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from subprocess import CompletedProcess
from typing import Any

import pytest
from traffic.mail_programs import Submission
from traffic.relays import Relay

LIMIT = 100_000 + secrets.randbelow(900_000)
NEW = f"messages_per_hour = {LIMIT}"
TOLD = "relay3: drained: not probed"


@dataclass(frozen=True)
class Story:
    """What was done while relay3 was drained. waited: the message's queue id at relay1."""

    rollout: CompletedProcess[str]
    proof: CompletedProcess[str]
    waited: str
    attempts: tuple[int, int]
    drained: dict[str, Any]
    configurations: dict[str, str]


@pytest.fixture(scope="module")
def story(
    playbook: Callable[..., CompletedProcess[str]],
    relays: dict[str, Relay],
    compose: Callable[..., Submission],
    submit: Callable[[Submission], Any],
) -> Any:
    """The relay is undrained at the end, and the message deleted."""
    policy = {"relay_agent_policy": {"messages_per_hour": LIMIT, "recipients_per_hour": LIMIT}}
    message = compose("relay1", domain="dns.postroad.test")  # which has no mail server
    assert submit(message).rc == 0
    assert relays["relay1"].wait_until_deferred(message.token, seconds=30)
    waited, before = relays["relay1"].waiting(message.token) or ("", {})
    drained = playbook("drain.yml", {}, limit="relay3")
    try:
        assert drained.returncode == 0, drained.stdout
        rollout, proof = playbook("rollout.yml", policy), playbook("verify.yml", {})
        _, after = relays["relay1"].waiting(message.token) or ("", {"attempts": 0})
        yield Story(
            rollout,
            proof,
            waited,
            (before["attempts"], after["attempts"]),
            json.loads(relays["relay3"].host.check_output("relay-agent status --json")),
            {name: relay.host.check_output("cat /etc/postroad/agent.toml") for name, relay in relays.items()},
        )
    finally:
        undrained = playbook("undrain.yml", {}, limit="relay3")
        relays["relay1"].host.check_output(f"relay-agent queue delete --yes {waited}")
        assert undrained.returncode == 0, undrained.stdout


def test_the_rollout_goes_through_and_tells_what_was_not_probed(story: Story) -> None:
    assert story.rollout.returncode == 0, story.rollout.stdout
    assert TOLD in story.rollout.stdout


def test_every_relay_has_the_change_and_the_drained_one_stays_drained(story: Story) -> None:
    assert [name for name, text in story.configurations.items() if NEW not in text] == []
    assert story.drained["listeners"] == []
    assert "drained" in story.drained


def test_the_proof_says_that_it_is_drained(story: Story) -> None:
    assert story.proof.returncode == 0, story.proof.stdout
    assert TOLD in story.proof.stdout


def test_the_mail_that_waited_was_asked_for_and_tried(story: Story, relays: dict[str, Relay]) -> None:
    """By the rollout, and not only by its own turn."""
    assert [event for event in relays["relay1"].events("operator_retried") if event["queue_id"] == story.waited]
    assert story.attempts[1] > story.attempts[0]
