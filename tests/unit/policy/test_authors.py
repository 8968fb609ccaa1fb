# SPDX-License-Identifier: GPL-3.0-or-later
import pytest

from relay_agent.message.header import HeaderError, submission_header
from relay_agent.policy.authors import AuthorRule
from relay_agent.policy.senders import AllowedSenders

ALICE = AllowedSenders(["alice@a.test", "*@b.test"])


def header(text: str, *, envelope: str = "alice@a.test", rewrite: bool = False) -> str:
    rule = AuthorRule(ALICE, envelope, ALICE.first if rewrite else "")
    result = submission_header(
        text.replace("\n", "\r\n").encode(), received=b"", hostname="relay.test", queue_id="Q1", now=0, rule=rule
    )
    lines = [line for line in result.header.decode().split("\r\n") if not line.startswith(("Date:", "Message-ID:"))]
    return "\n".join(lines)


@pytest.mark.parametrize(
    "text",
    [
        "From: Alice <alice@a.test>\nSubject: x\n",
        "FROM : alice+tag@a.test\n",
        "From:\n Alice\n <alice@a.test>\n",
        "From: a@b.test, alice@a.test\nSender: alice@a.test\n",
        "From: Us: a@b.test, c@b.test;\n",
        "From: =?utf-8?q?Ceo=40corp?= <alice@a.test>\n",
        "From: Jürgen <alice@a.test>\n",
    ],
)
def test_the_accounts_own_addresses_pass_untouched(text: str) -> None:
    assert header(text) == text
    assert header(text, rewrite=True) == text


HOSTILE = [
    ("From: eve@evil.test\n", "553 5.7.1"),
    ("From: Alice <eve@evil.test>\n", "553 5.7.1"),
    ("From: alice@a.test\nfrom: eve@evil.test\n", "554 5.6.0"),
    ("From: alice@a.test,\n eve@evil.test\n", "553 5.7.1"),
    ("From:\n =?utf-8?q?x?=\n\t<eve@evil.test>\n", "553 5.7.1"),
    ("From: alice@a.test: eve@evil.test;\n", "554 5.6.0"),
    ("From: us: alice@a.test, eve@evil.test;\n", "553 5.7.1"),
    ("From: nobody:;\n", "554 5.6.0"),
    ("From:\n", "554 5.6.0"),
    ("From: eve@evil.test <alice@a.test>\n", "553 5.7.1"),
    ("From: <alice@a.test> <eve@evil.test>\n", "554 5.6.0"),
    ("From: =?utf-8?q?eve=40evil=2Etest=3E?=@b.test\n", "554 5.6.0"),
    ("From: alice@a.test(\n", "554 5.6.0"),
    ("From: \x00alice@a.test\n", "554 5.6.0"),
]


@pytest.mark.parametrize(("text", "reply"), HOSTILE)
def test_another_from_is_refused(text: str, reply: str) -> None:
    with pytest.raises(HeaderError) as caught:
        header(text)
    assert str(caught.value).startswith(reply)
    assert "\r" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("text", "_"), HOSTILE)
def test_or_rewritten(text: str, _: str) -> None:
    assert header("Subject: x\n" + text, rewrite=True).split("From:")[1].rstrip().endswith("<alice@a.test>")
    assert "eve" not in header(text, rewrite=True)


def test_rewriting_keeps_the_name_and_the_place() -> None:
    assert header('A: b\nFrom: "Doe, J." <x@evil.test>\nC: d\n', rewrite=True) == (
        'A: b\nFrom: "Doe, J." <alice@a.test>\nC: d\n'
    )


def test_not_utf8() -> None:
    rule = AuthorRule(ALICE, "alice@a.test")
    with pytest.raises(HeaderError, match=r"554 5\.6\.0"):
        submission_header(
            b"From: J\xfcrgen <alice@a.test>\r\n", received=b"", hostname="h", queue_id="Q", now=0, rule=rule
        )


def test_a_missing_from_is_the_envelopes_sender() -> None:
    assert header("Subject: x\n") == "Subject: x\nFrom: <alice@a.test>\n"
    with pytest.raises(HeaderError, match="no From line"):
        header("Subject: x\n", envelope="")


@pytest.mark.parametrize(
    "line",
    ["Sender: eve@evil.test", "Sender: alice@a.test\nSender: alice@a.test", "Sender: a@b.test, c@b.test", "Sender: x"],
)
def test_sender_is_checked_too(line: str) -> None:
    with pytest.raises(HeaderError):
        header(f"From: alice@a.test\n{line}\n")
    assert header(f"From: alice@a.test\n{line}\n", rewrite=True) == "From: alice@a.test\n"
