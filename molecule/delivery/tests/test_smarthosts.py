# SPDX-License-Identifier: GPL-3.0-or-later
"""Two smarthosts on a route: the second takes the mail while the first refuses, and the first has it again after."""

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from traffic.fixtures import STATE
from traffic.mail_programs import Submission
from traffic.mailboxes import Mailboxes
from traffic.relays import Relay

RELAYS = ["relay1", "relay2"]

# Seconds until a host that made trouble is the first again, and some more.
COMES_BACK = 180.0

# A way to refuse: how it is brought about on the first smarthost and undone, and what the relay's log says of it.
_PASSWORD = "set-password relays"
REFUSALS = {
    "closed port": ("systemctl stop postfix", "systemctl start postfix", "refused"),
    "421": (
        "postconf -e 'smtpd_client_restrictions=static:{421 4.3.2 down for maintenance}' && systemctl restart postfix",
        "postconf -X smtpd_client_restrictions && systemctl restart postfix",
        "down for maintenance",
    ),
    "bad sign-in": (f"echo another | {_PASSWORD}", f"echo KEPT | {_PASSWORD}", "535"),
}

Sent = dict[str, Submission]


@pytest.fixture(scope="module")
def first(on: Callable[[str], Any]) -> Any:
    """The first smarthost of the route."""
    return on("smarthost1")


@pytest.fixture(scope="module")
def send(
    send_by_each: Callable[[str], dict[str, Submission]], mailboxes: Mailboxes
) -> Callable[[], tuple[Sent, Counter[str]]]:
    """Sends a message through each relay; the messages, and how many arrived of each in good time."""

    def both() -> tuple[Sent, Counter[str]]:
        sent = send_by_each("beta.test")
        return sent, mailboxes.wait_for((submission.token for submission in sent.values()), seconds=30)

    return both


@pytest.fixture(scope="module", params=list(REFUSALS))
def refusal(
    request: pytest.FixtureRequest,
    first: Any,
    relays: dict[str, Relay],
    send: Callable[[], tuple[Sent, Counter[str]]],
) -> tuple[str, Sent, Counter[str]]:
    """What became of messages while the first smarthost refused: the way, the messages, how many arrived of each."""
    breaking, mending, _ = REFUSALS[request.param]
    for relay in relays.values():
        relay.restart()  # so that the first smarthost is the first to be tried
    first.check_output(breaking)
    try:
        sent, arrived = send()
    finally:
        password = (STATE / "delivery/smarthost.password").read_text().strip()
        first.check_output(mending.replace("KEPT", password))
    return request.param, sent, arrived


def _taken_by(submission: Submission, mailboxes: Mailboxes) -> str:
    """The host that gave the message to the mail host: it stands in the topmost trace field."""
    topmost: str = mailboxes.read(submission.token).get_all("Received", [""])[0]
    return topmost.split()[1]


@pytest.mark.parametrize("relay", RELAYS)
def test_the_second_takes_the_mail(relay: str, refusal: tuple[str, Sent, Counter[str]], mailboxes: Mailboxes) -> None:
    _, sent, arrived = refusal
    assert arrived[sent[relay].token] == 1
    assert _taken_by(sent[relay], mailboxes) == "smarthost2.postroad.test"


@pytest.mark.parametrize("relay", RELAYS)
def test_the_log_says_what_the_first_did(
    relay: str, refusal: tuple[str, Sent, Counter[str]], relays: dict[str, Relay]
) -> None:
    way, _, _ = refusal
    troubles = relays[relay].events("connection_trouble")
    assert any(
        event["host"].startswith("smarthost1.postroad.test") and REFUSALS[way][2] in event["reply"].lower()
        for event in troubles
    ), troubles


def test_the_first_has_it_again_when_it_is_back(
    send: Callable[[], tuple[Sent, Counter[str]]], mailboxes: Mailboxes
) -> None:
    """By itself: nobody restarts the relays or says a word."""
    deadline = time.monotonic() + COMES_BACK
    back: dict[str, str] = {}
    while len(back) < len(RELAYS) and time.monotonic() < deadline:
        sent, arrived = send()
        for relay, submission in sent.items():
            assert arrived[submission.token] == 1
            if _taken_by(submission, mailboxes) == "smarthost1.postroad.test":
                back.setdefault(relay, submission.token)
        if len(back) < len(RELAYS):
            time.sleep(4)
    assert set(back) == set(RELAYS)


@pytest.mark.parametrize("relay", RELAYS)
def test_nothing_stays_in_the_queue(relay: str, relays: dict[str, Relay]) -> None:
    assert relays[relay].left_in_queue() == []
