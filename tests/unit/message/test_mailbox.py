# SPDX-License-Identifier: GPL-3.0-or-later
import contextlib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_agent.message.mailbox import Mailbox, MailboxError, parse_mailboxes


@pytest.mark.parametrize(
    ("text", "addresses"),
    [
        ("alice@a.test", ["alice@a.test"]),
        (" <alice@a.test> ", ["alice@a.test"]),
        ("Alice <alice@a.test>", ["alice@a.test"]),
        ("John Q. Public <john@a.test>", ["john@a.test"]),
        ("Jürgen <j@a.test>", ["j@a.test"]),
        ('"A, B <x@y.test>" <a@a.test>', ["a@a.test"]),
        ('"a\\"b" <a@a.test>', ["a@a.test"]),
        ("a@a.test (comment, with (one) inside <x@y.test>)", ["a@a.test"]),
        ("=?utf-8?q?ceo=40b=2Etest?= <a@a.test>", ["a@a.test"]),
        ("a@a.test, , B <b@b.test>,", ["a@a.test", "b@b.test"]),
        ("Friends: a@a.test, B <b@b.test>;, c@c.test", ["a@a.test", "b@b.test", "c@c.test"]),
        ("nobody:;", []),
        ("", []),
        ('"quoted local"@a.test', ['"quoted local"@a.test']),
        ("a@[192.0.2.1]", ["a@[192.0.2.1]"]),
        ("ceo@b.test <a@a.test>", ["a@a.test", "ceo@b.test"]),
    ],
)
def test_reads(text: str, addresses: list[str]) -> None:
    assert [mailbox.address for mailbox in parse_mailboxes(text)] == addresses


def test_names_are_kept_as_written() -> None:
    assert parse_mailboxes('"Doe, J." (x) =?utf-8?q?y?= <a@a.test>') == [
        Mailbox('"Doe, J."   =?utf-8?q?y?=', "a@a.test")
    ]


@pytest.mark.parametrize(
    "text",
    [
        "alice",
        "<>",
        "a@b@c.test",
        "a@b.test c@d.test",
        "<a@b.test> <c@d.test>",
        "<a@b.test",
        "a@b.test>",
        "<a@b.test>>",
        "<<a@b.test>>",
        "A <a@b.test> B",
        "a @b.test",
        "a@(x)b.test",
        "<@x.test:a@b.test>",
        "=?utf-8?q?ceo=40corp=2Etest=3E?=@a.test",
        "a@b.test\0",
        "a@b.test\r\n",
        "Group: a@b.test",
        "a@b.test;",
        "G: H: a@b.test;;",
        "a@b.test: c@d.test;",
        ": a@b.test;",
        '"open <a@b.test>',
        "(open a@b.test",
        "x) a@b.test",
        "a..b@c.test",
        ".a@c.test",
        "a@c.test.",
        "a@",
        "@a.test",
        "ceo @ b.test <a@a.test>",
        "(" * 20 + ")" * 20 + "a@b.test",
        "x" * 20_000,
        ",".join(["a@b.test"] * 101),
    ],
)
def test_refuses_what_can_be_read_in_two_ways(text: str) -> None:
    with pytest.raises(MailboxError):
        parse_mailboxes(text)


@pytest.mark.parametrize("piece", ["()", '""', "<", ",", "(", "a ", '"\\', "a@b.test,", ";"])
def test_a_hostile_field_costs_little(piece: str) -> None:
    begun = time.process_time()
    with contextlib.suppress(MailboxError):
        parse_mailboxes((piece * 16_384)[:16_384])
    assert time.process_time() - begun < 1


@given(st.text(alphabet='ab@<>,:;()"\\ .[]=?', max_size=40))
def test_anything_is_read_or_refused(text: str) -> None:
    try:
        found = parse_mailboxes(text)
    except MailboxError:
        return
    assert all("@" in mailbox.address for mailbox in found)
