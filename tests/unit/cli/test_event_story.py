# SPDX-License-Identifier: GPL-3.0-or-later
from typing import Any

import pytest

from relay_agent.cli.event_story import ending, events_told

AT = 1_790_000_000.0  # 2026-09-21 14:13:20 UTC


def told(name: str, **fields: Any) -> str:
    (line,) = events_told([{"ts": AT, "level": "info", "event": name, "queue_id": "A", **fields}])
    assert line.startswith("2026-09-21 14:13:20 UTC  ")
    return line.partition("  ")[2]


@pytest.mark.parametrize(
    ("name", "fields", "sentence"),
    [
        (
            "accepted",
            {
                "sender": "alice@alpha.test",
                "account": "alice",
                "peer": "192.0.2.1",
                "port": 587,
                "tls": True,
                "to": [f"user{number}@beta.test" for number in range(7)],
                "size": 4096,
                "message_id": "<m@alpha.test>",
            },
            "Accepted from <alice@alpha.test>, signed in as alice, at 192.0.2.1, port 587 with TLS, for "
            "<user0@beta.test>, <user1@beta.test>, <user2@beta.test>, <user3@beta.test>, <user4@beta.test> and 2 more: "
            "4.1 KB, Message-ID <m@alpha.test>.",
        ),
        (
            "accepted",
            {"sender": "", "size": 10, "held_until": AT},
            "Accepted, with no sender to bounce to: 10 B, not to be sent before 2026-09-21 14:13:20 UTC.",
        ),
        (
            "delivered",
            {"recipient": "bob@beta.test", "host": "mx", "reply": "250 2.0.0 Ok.", "attempt": 1, "delay": 3.2},
            "Delivered to <bob@beta.test>: mx answered 250 2.0.0 Ok (3 s after it came).",
        ),
        (
            "deferred",
            {"recipient": "bob@beta.test", "host": "mx", "reply": "connection refused", "next_attempt": AT},
            "Not delivered to <bob@beta.test> yet: mx: connection refused. Next attempt: 2026-09-21 14:13:20 UTC.",
        ),
        (
            "deferred",
            {"recipient": "bob@beta.test", "reply": "a fault of our own", "held": True},
            "Not delivered to <bob@beta.test> yet: a fault of our own. It is held since.",
        ),
        (
            "waits_for_call",
            {"recipient": "bob@site.test", "reply": "waits until the site of site.test calls in", "next_attempt": AT},
            "For <bob@site.test> it waits for a site: waits until the site of site.test calls in.",
        ),
        (
            "failed",
            {"recipient": "bob@beta.test", "host": "mx", "reply": "550 no such user", "attempt": 3, "delay": 90},
            "Given up for <bob@beta.test>: mx answered 550 no such user (1 min 30 s after it came, at attempt 3).",
        ),
        (
            "bounced",
            {"to": "alice@alpha.test", "bounce": "B"},
            "A bounce was written to <alice@alpha.test>: message B.",
        ),
        ("dropped", {"reason": "there is no sender to tell"}, "No bounce was written: there is no sender to tell."),
        ("refused", {"reply": "552 too large"}, "Refused: 552 too large."),
        ("operator_held", {"recipients": ["bob@beta.test"]}, "The operator held it, for <bob@beta.test>."),
        ("operator_deleted", {}, "The operator deleted it, without a bounce."),
        ("some_news", {"colour": "red"}, "Some news: colour red."),
    ],
)
def test_each_event_is_a_sentence(name: str, fields: dict[str, Any], sentence: str) -> None:
    assert told(name, **fields) == sentence


def test_whatever_is_in_an_event_reaches_no_terminal() -> None:
    for name in ("accepted", "delivered", "deferred", "failed", "bounced", "dropped", "operator_held", "x\x1b"):
        line = told(
            name, **dict.fromkeys(("sender", "recipient", "reply", "host", "to", "reason", "note"), "\x1b[2J\r\n")
        )
        assert line.isprintable()
    assert told("delivered", recipient=7, delay="soon", attempt=None, reply={"a": 1}) != ""


def test_where_the_message_is_now() -> None:
    waiting: dict[str, Any] = {
        "recipients": [{"state": "waiting", "next_attempt": 160.0}, {"state": "held", "next_attempt": 1.0}]
    }
    assert ending([], waiting, 100.0) == "It is in the queue for 2 recipients; the next attempt comes in 1 min."
    assert "is due now" in ending([], waiting, 200.0)
    called_for = {"state": "waiting", "next_attempt": 900.0, "options": {"AWAITS": "site.test"}}
    waiting["recipients"].append(called_for)
    assert ending([], waiting, 100.0) == "It is in the queue for 3 recipients; the next attempt comes in 1 min."
    waiting["recipients"] = [called_for, {"state": "held", "next_attempt": 1.0}]
    assert ending([], waiting, 100.0) == (
        "It is in the queue for 2 recipients, until the site of site.test calls in for its mail."
    )
    assert "is due now" in ending([], waiting, 900.0)
    held = {"recipients": [{"state": "held", "next_attempt": 1.0}]}
    assert ending([], held, 100.0).startswith("It is held for 1 recipient")
    assert ending([], None, 1.0) == "Nothing is known of it."
    for names, words in (
        (["delivered"], "everybody's server has taken it"),
        (["delivered", "failed"], "not everybody got it"),
        (["accepted", "operator_deleted"], "no longer in the queue"),
        (["accepted"], "no longer in the queue"),
    ):
        assert words in ending([{"event": name} for name in names], None, 1.0)
