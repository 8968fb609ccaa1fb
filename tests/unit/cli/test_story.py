# SPDX-License-Identifier: GPL-3.0-or-later
"""A message's story: every turn that it can take, and nothing of a stranger's on the terminal."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_agent.cli.story import tell

NOW = 1_700_000_000.0
RECIPIENT: dict[str, Any] = {
    "address": "bob@beta.test",
    "state": "queued",
    "attempts": 0,
    "next_attempt": NOW + 600,
    "last_attempt": None,
    "last_status": "",
    "last_reply": "",
    "last_host": "",
}
MESSAGE: dict[str, Any] = {
    "id": "ABC",
    "sender": "alice@alpha.test",
    "account": "alice",
    "size": 4096,
    "created": NOW - 300,
    "expires": NOW + 86_400,
    "recipients": [RECIPIENT],
}


def story(**changes: Any) -> str:
    """The story with these changes to the message and, for keys that are its, to the recipient."""
    recipient = RECIPIENT | {name: value for name, value in changes.items() if name in RECIPIENT}
    message = {name: value for name, value in changes.items() if name in MESSAGE}
    return tell(MESSAGE | {"recipients": [recipient]} | message, NOW)


def test_the_whole_of_it() -> None:
    assert story() == (
        "Message ABC, 4.1 KB, for 1 recipient still in the queue.\n"
        "It came from <alice@alpha.test>, who signed in as alice, 5 min ago, on 2023-11-14 22:08:20 UTC.\n"
        "\n"
        "<bob@beta.test>\n"
        "  Not tried yet.\n"
        "  The next attempt is in 10 min, at 2023-11-14 22:23:20 UTC.\n"
        "\n"
        "What is not delivered by 2023-11-15 22:13:20 UTC (in 1 d): <alice@alpha.test> gets it back as a bounce."
    )


def test_each_recipient_has_its_own() -> None:
    text = story(recipients=[RECIPIENT, RECIPIENT | {"address": "carl@beta.test", "state": "held"}])
    assert "for 2 recipients still" in text
    assert text.index("<bob@beta.test>") < text.index("The next attempt") < text.index("<carl@beta.test>")
    assert text.count("The next attempt") == text.count("It is held: nothing happens until it is released.") == 1


@pytest.mark.parametrize(
    ("account", "sender", "words"),
    [
        ("", "a@b", "It came from <a@b>, out of a trusted network,"),
        (None, "", "This is a bounce that the relay wrote itself,"),
    ],
)
def test_where_it_came_from(account: str | None, sender: str, words: str) -> None:
    assert words in story(account=account, sender=sender)


@pytest.mark.parametrize(
    ("attempts", "last", "words"),
    [
        (1, NOW - 60, "Tried once, last 1 min ago."),
        (2, NOW - 60, "Tried twice, last 1 min ago."),
        (7, NOW - 1, "Tried 7 times, last 1 s ago."),
        (1, None, "Tried once."),
    ],
)
def test_how_often_it_was_tried(attempts: int, last: float | None, words: str) -> None:
    assert f"  {words}\n" in story(attempts=attempts, last_attempt=last)


@pytest.mark.parametrize(
    ("host", "status", "reply", "words"),
    [
        ("mx.beta.test", "4.7.1", "451 4.7.1 later", "mx.beta.test answered: 451 4.7.1 later"),
        ("mx.beta.test", "4.2.0", "451 later", "mx.beta.test answered: 4.2.0 451 later"),
        ("mx.beta.test", "4.4.1", "connection refused", "mx.beta.test did not take it: 4.4.1 connection refused"),
        ("", "4.4.3", "no name server answers", "The reason: 4.4.3 no name server answers"),
        ("", "", "no name server answers", "The reason: no name server answers"),
    ],
)
def test_what_was_said(host: str, status: str, reply: str, words: str) -> None:
    assert f"  {words}\n" in story(attempts=1, last_host=host, last_status=status, last_reply=reply)


def test_what_is_due_has_no_time() -> None:
    assert "  It is due now.\n" in story(next_attempt=NOW)
    assert "The next attempt" not in story(next_attempt=NOW - 5)
    assert "due" not in story(next_attempt=NOW - 5, state="held")


@pytest.mark.parametrize(("sender", "who"), [("a@b", "<a@b> gets it back as a bounce"), ("", "it is given up")])
def test_how_it_ends(sender: str, who: str) -> None:
    assert story(sender=sender).endswith(f"(in 1 d): {who}.")
    assert story(sender=sender, expires=NOW).endswith(
        f"Its time is over since 2023-11-14 22:13:20 UTC: at the next failure {who}."
    )


@given(st.text(), st.text(min_size=1))
def test_nothing_that_a_terminal_acts_on_gets_out(text: str, account: str) -> None:
    told = story(
        id=text,
        sender=text,
        account=account,
        address=text,
        attempts=1,
        last_host=text,
        last_status=text,
        last_reply=text,
    )
    assert told.replace("\n", "").isprintable()
    # Nor a line that looks like one of ours.
    assert len(told.splitlines()) <= len(story(attempts=1, last_reply="451 x", last_host="h").splitlines())


def test_what_waits_for_a_site() -> None:
    waiting = RECIPIENT | {
        "options": {"AWAITS": "site.test"},
        "last_reply": "waits until the site of site.test calls in",
        "next_attempt": NOW + 30 * 86_400,
    }
    text = story(recipients=[waiting])
    assert "  The reason: waits until the site of site.test calls in\n" in text
    assert "  It goes on when the site of site.test calls in for its mail.\n" in text
    assert "next attempt" not in text
    assert "(in 30 d)" in text
    assert "It is due now." in story(recipients=[waiting | {"next_attempt": NOW}])
