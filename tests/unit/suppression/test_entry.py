# SPDX-License-Identifier: GPL-3.0-or-later
"""Entries, their lines in the file, and one form of an address."""

import json

import pytest

from relay_agent.suppression.entry import Cause, Entry, Gone, fold, parse_change


@pytest.mark.parametrize(
    ("address", "folded"),
    [
        ("Bob@Beta.Test", "bob@beta.test"),
        ("bob@beta.test.", "bob@beta.test"),
        ('"bob"@beta.test', "bob@beta.test"),
        ("bob+news@beta.test", "bob+news@beta.test"),
        ("bob@bücher.test", "bob@xn--bcher-kva.test"),
        ("bob@[192.0.2.1]", "bob@[192.0.2.1]"),
        ("postmaster", ""),
        ("@beta.test", ""),
        ("bob@", ""),
        ("", ""),
        ("a" * 600 + "@beta.test", ""),
    ],
)
def test_an_address_has_one_form(address: str, folded: str) -> None:
    assert fold(address) == folded
    assert fold(folded) == folded


def test_a_line_is_read_as_it_was_written() -> None:
    entry = Entry("bob@beta.test", "alice", Cause.BOUNCE, "550 5.1.1 no", 1.5, 2.5, 3, False, "a@alpha.test")
    assert parse_change(json.loads(json.dumps(entry.record()))) == entry
    gone = Gone("bob@beta.test", "alice")
    assert parse_change(json.loads(json.dumps(gone.record()))) == gone
    assert gone.key == entry.key


@pytest.mark.parametrize(
    "change",
    [
        {"address": 7},
        {"address": "Bob@Beta.test"},
        {"address": ""},
        {"owner": None},
        {"owner": "x" * 600},
        {"cause": "dislike"},
        {"first": "yesterday"},
        {"count": None},
        {"count": float("inf")},
    ],
)
def test_what_is_no_entry_is_refused(change: dict[str, object]) -> None:
    good = Entry("bob@beta.test", "alice", Cause.BOUNCE, "no", 1, 2).record()
    parse_change(good)
    with pytest.raises(ValueError, match=r"."):
        parse_change(good | change)
    with pytest.raises(ValueError, match="not an entry"):
        parse_change({})


def test_a_reason_is_one_line_of_bounded_text() -> None:
    entry = parse_change(Entry("b@beta.test", "", Cause.MANUAL, "a\r\nb" + "x" * 999, 1, 2).record())
    assert isinstance(entry, Entry)
    assert entry.reason.startswith("a b")
    assert len(entry.reason) == 200
