# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading replies, whole, split and hostile."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_agent.delivery.reply import Reply, ReplyError, ReplyReader, printable


def _read(data: bytes) -> list[Reply]:
    return ReplyReader().feed(data)


def test_one_line() -> None:
    assert _read(b"250 2.1.0 Ok\r\n") == [Reply(250, ("2.1.0 Ok",))]


def test_bare_code_and_bare_line_feed() -> None:
    assert _read(b"354\r\n250\n250 \r\n") == [Reply(354, ("",)), Reply(250, ("",)), Reply(250, ("",))]


def test_several_lines_are_one_reply() -> None:
    (reply,) = _read(b"550-5.1.1 The mailbox\r\n550-5.1.1 you look for\r\n550 5.1.1 is gone\r\n")
    assert reply.enhanced == "5.1.1"
    assert reply.text == "550 5.1.1 The mailbox you look for is gone"


@given(st.lists(st.integers(1, 30), max_size=20))
def test_any_cut_gives_the_same(cuts: list[int]) -> None:
    data = b"220 here\r\n250-one\r\n250-SIZE 10\r\n250 two\r\n354 go\r\n"
    reader, replies, at = ReplyReader(), [], 0
    for cut in cuts:
        replies += reader.feed(data[at : at + cut])
        at += cut
    replies += reader.feed(data[at:])
    assert [reply.code for reply in replies] == [220, 250, 354]
    assert reader.idle


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 400 Bad Request\r\n",
        b"25\r\n",
        b"2500 Ok\r\n",
        b"250_Ok\r\n",
        b"199 Ok\r\n",
        b"650 Ok\r\n",
        b"\r\n",
        b"\x16\x03\x01\x02\r\n",
        b"250-one\r\n251 two\r\n",
        "\u0662\u0665\u0660 Ok\r\n".encode(),
    ],
)
def test_what_is_no_reply(data: bytes) -> None:
    with pytest.raises(ReplyError):
        _read(data)


@pytest.mark.parametrize(
    ("block", "times", "problem"),
    [
        (b"250 " + b"x" * 1000, 10, "line without end"),
        (b"250-more\r\n", 1000, "reply without end"),
        (b"250-" + b"x" * 4000 + b"\r\n", 50, "reply without end"),
    ],
)
def test_without_end(block: bytes, times: int, problem: str) -> None:
    reader = ReplyReader()

    def feed() -> None:
        for _ in range(times):
            reader.feed(block)

    with pytest.raises(ReplyError, match=problem):
        feed()


@pytest.mark.parametrize(
    ("line", "enhanced"),
    [
        (b"550 5.7.1 no", "5.7.1"),
        (b"550 5.7.1", "5.7.1"),
        (b"450 5.7.1 class does not fit", None),
        (b"550 5.7.1.2 no", None),
        (b"550 5.7001.1 no", None),
        (b"550 no 5.7.1", None),
        (b"450 4.07.001 zeros", "4.7.1"),
    ],
)
def test_enhanced_codes(line: bytes, enhanced: str | None) -> None:
    (reply,) = _read(line + b"\r\n")
    assert reply.enhanced == enhanced


def test_text_is_one_printable_line() -> None:
    (reply,) = _read(b"550-evil\rX-Header: yes\x00\x1b[31m\r\n550 caf\xe9 \xc3\xa9\r\n")
    assert reply.text == "550 evil X-Header: yes [31m caf\ufffd \u00e9"


@given(st.text(max_size=3000))
def test_printable_is_one_bounded_line(text: str) -> None:
    shown = printable(text, 100)
    assert len(shown) <= 100
    assert shown.isprintable()
