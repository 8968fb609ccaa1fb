# SPDX-License-Identifier: GPL-3.0-or-later
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_agent.submission.content import BLOCK, ContentReader, HeaderSplitter


def read(
    stream: bytes, cuts: tuple[int, ...] = (), limit: int = 10_000_000
) -> tuple[bytes, bytes, ContentReader, bool]:
    """Content, what was left in the buffer, the reader, and whether the end was found."""
    taken: list[bytes] = []
    reader = ContentReader(taken.append, limit)
    buffer = bytearray()
    done = False
    for start, stop in itertools.pairwise((0, *cuts, len(stream))):
        buffer += stream[start:stop]
        if not done:
            done = reader.feed(buffer)
    return b"".join(taken), bytes(buffer), reader, done


@pytest.mark.parametrize(
    ("stream", "content", "left"),
    [
        (b".\r\n", b"", b""),
        (b"a\r\n.\r\n", b"a\r\n", b""),
        (b"a\r\n.\r\nQUIT\r\n", b"a\r\n", b"QUIT\r\n"),
        (b"..a\r\n..\r\n.\r\n", b".a\r\n.\r\n", b""),
        (b".a\r\n.\r\n", b"a\r\n", b""),
        (b"\r\n.\r\n", b"\r\n", b""),
        (b"a\r\n\r\n.\r\n", b"a\r\n\r\n", b""),
    ],
)
def test_end_of_data_wherever_packets_are_split(stream: bytes, content: bytes, left: bytes) -> None:
    for cut in range(len(stream) + 1):
        taken, rest, _, done = read(stream, (cut,))
        assert (taken, rest, done) == (content, left, True), cut


SMUGGLED = b"MAIL FROM:<evil@attacker.test>\r\n"


@pytest.mark.parametrize(
    "ending",
    [
        b"\n.\n",
        b"\n.\r",
        b"\r.\n",
        b"\r.\r",
        b"\n.\r\n",
        b"\r.\r\n",
        b"\r\n.\n",
        b"\r\n.\r",
        b"\r\n.\r\r\n",
        b"\r\r\n.\r\r\n",
        b"\r\n\x00.\r\n",
        b"\r\n.\x00\r\n",
    ],
)
def test_no_other_spelling_ends_the_data(ending: bytes) -> None:
    stream = b"Subject: x\r\n\r\nhello" + ending + SMUGGLED + b"\r\n.\r\n"
    for cut in range(len(stream) + 1):
        content, left, reader, done = read(stream, (cut,))
        assert done
        assert left == b""
        if reader.fault is None:
            # What was taken for a smuggled command is in the body, and no bare CR or LF can leave with it.
            assert SMUGGLED in content
            assert content.count(b"\r") == content.count(b"\n") == content.count(b"\r\n")
        else:
            assert reader.fault.startswith("554 5.6.0")


def test_a_stuffed_dot_after_a_bare_line_feed_stays() -> None:
    content, _, reader, _ = read(b"a\n..b\r\n.\r\n")
    assert content == b"a\r\n..b\r\n"
    assert reader.bare_line_feeds


@given(st.lists(st.sampled_from([b"a", b".", b"\r\n", b"\r\n.", b"xy"]), max_size=40), st.data())
def test_what_was_stuffed_comes_out_again(parts: list[bytes], data: st.DataObject) -> None:
    content = b"".join(parts) + b"\r\n"
    stuffed = (b"." if content.startswith(b".") else b"") + content.replace(b"\r\n.", b"\r\n..")
    stream = stuffed + b".\r\n"
    cuts = tuple(sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6))))
    taken, left, reader, done = read(stream, cuts)
    assert (taken, left, done, reader.fault) == (content, b"", True, None)


@pytest.mark.parametrize("unit", [b"x" * 1000 + b"\r\n", b"x" * (3 * BLOCK), b".\r\n..\r\nab\r\n", b"\r\n" * 5000])
def test_large_content_comes_in_blocks(unit: bytes) -> None:
    content = b"h\r\n" + unit * 40 + b"\r\n"
    stuffed = content.replace(b"\r\n.", b"\r\n..") + b".\r\n"
    taken: list[bytes] = []
    reader = ContentReader(taken.append, 100_000_000)
    buffer = bytearray()
    for start in range(0, len(stuffed), 7001):
        buffer += stuffed[start : start + 7001]
        if reader.feed(buffer):
            break
    assert b"".join(taken) == content
    assert max(map(len, taken)) < BLOCK + 3 * 7001
    assert not buffer


def test_too_large_is_refused_and_read_to_its_end() -> None:
    stream = (b"x" * 98 + b"\r\n") * 2000 + b".\r\nNOOP\r\n"
    content, left, reader, done = read(stream, tuple(range(1000, len(stream), 1000)), limit=70_000)
    assert done
    assert left == b"NOOP\r\n"
    assert reader.fault == "552 5.3.4 The message is larger than 70000 bytes"
    assert len(content) <= 70_000


@pytest.mark.parametrize(
    ("stream", "header", "rest"),
    [
        (b"A: 1\r\nB: 2\r\n\r\nbody\r\n", b"A: 1\r\nB: 2\r\n", b"body\r\n"),
        (b"A: 1\r\n", b"A: 1\r\n", b""),
        (b"\r\nbody\r\n", b"", b"body\r\n"),
        (b"A: 1\r\n\r\n\r\nbody\r\n", b"A: 1\r\n", b"\r\nbody\r\n"),
        (b"", b"", b""),
    ],
)
def test_header_is_held_back_until_whole(stream: bytes, header: bytes, rest: bytes) -> None:
    for cut in range(len(stream) + 1):
        seen: list[bytes] = []
        out: list[bytes] = []

        def rewrite(lines: bytes, blank: bool, seen: list[bytes] = seen) -> bytes:
            assert blank == (b"\r\n\r\n" in b"\r\n" + stream)
            seen.append(lines)
            return b"<" + lines + b">"

        splitter = HeaderSplitter(rewrite, out.append, 1000)
        splitter.write(stream[:cut])
        splitter.write(stream[cut:])
        splitter.finish()
        assert seen == [header]
        assert b"".join(out) == b"<" + header + b">" + rest
        assert not splitter.too_long


def test_endless_header_is_not_gathered() -> None:
    out: list[bytes] = []
    splitter = HeaderSplitter(lambda lines, blank: lines, out.append, 1000)
    for _ in range(100):
        splitter.write(b"X: y\r\n" * 100)
    splitter.finish()
    assert splitter.too_long
    assert not out
