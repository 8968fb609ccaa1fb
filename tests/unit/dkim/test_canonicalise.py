# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import itertools
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_agent.dkim.canonicalise import RelaxedBody, relaxed_field


def relaxed(body: bytes, cuts: tuple[int, ...] = ()) -> bytes:
    out: list[bytes] = []
    form = RelaxedBody(out.append)
    for start, stop in itertools.pairwise((0, *cuts, len(body))):
        form.update(body[start:stop])
    form.finish()
    return b"".join(out)


def by_the_book(body: bytes) -> bytes:
    """RFC 6376 3.4.4, word for word, on the whole body at once."""
    lines = [re.sub(rb"[ \t]+", b" ", line).rstrip(b" ") for line in body.split(b"\r\n")]
    while lines and not lines[-1]:
        lines.pop()
    return b"".join(line + b"\r\n" for line in lines)


@pytest.mark.parametrize(
    ("body", "form"),
    [
        (b" C \r\nD \t E\r\n\r\n\r\n", b" C\r\nD E\r\n"),  # the example of RFC 6376 3.4.5
        (b"", b""),
        (b"\r\n", b""),
        (b"\r\n\r\n\r\n", b""),
        (b" \t\r\n \r\n", b""),
        (b"  ", b""),
        (b"a", b"a\r\n"),
        (b"a \t", b"a\r\n"),
        (b"a\r\n\r\n", b"a\r\n"),
        (b"a\r\n \r\nb", b"a\r\n\r\nb\r\n"),
        (b"\r\na", b"\r\na\r\n"),
        (b"a\t\tb\t c", b"a b c\r\n"),
        (b"a\xa0 \xff\r\n", b"a\xa0 \xff\r\n"),
        # Binary content: only CRLF ends a line.
        (b"a\r", b"a\r\r\n"),
        (b"a \r", b"a \r\r\n"),
        (b"a\n\r\n", b"a\n\r\n"),
        (b"a\r\r\n\r\n", b"a\r\r\n"),
        (b"\n\n\r\n", b"\n\n\r\n"),
        (b"\r\n\n\n\r\n\r\n", b"\r\n\n\n\r\n"),
    ],
)
def test_bodies_wherever_blocks_are_cut(body: bytes, form: bytes) -> None:
    assert by_the_book(body) == form
    for cut in range(len(body) + 1):
        assert relaxed(body, (cut,)) == form, cut


@given(
    st.lists(st.sampled_from([b"a", b" ", b"\t", b"\r\n", b"\r", b"\n", b"\xe4b", b"\r\n\r\n"]), max_size=30), st.data()
)
def test_blocks_give_what_the_whole_gives(parts: list[bytes], data: st.DataObject) -> None:
    body = b"".join(parts)
    cuts = tuple(sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=6))))
    assert relaxed(body, cuts) == by_the_book(body)


@pytest.mark.parametrize("unit", [b"\r\n", b" ", b"\t\r\n", b"\r", b"\n", b"\n\r\r", b"a \t\r\n"])
def test_no_body_takes_longer_than_its_length(unit: bytes) -> None:
    block = unit * (65_536 // len(unit))
    size = 0

    def count(piece: bytes) -> None:
        nonlocal size
        size += len(piece)
        assert len(piece) < 200_000

    form = RelaxedBody(count)
    begun = time.process_time()
    for _ in range(100):
        form.update(block)
    form.update(b"x")
    form.finish()
    assert size >= 3
    assert time.process_time() - begun < 3  # 6 MB; what grows with the square would take minutes


@pytest.mark.parametrize(
    ("raw", "form"),
    [
        (b"A: X\r\n", b"a:X"),  # the examples of RFC 6376 3.4.5
        (b"B : Y\t\r\n\tZ  \r\n", b"b:Y Z"),
        (b"SUBJect: AbC\r\n", b"subject:AbC"),
        (b"X:\r\n", b"x:"),
        (b"X:  \r\n \r\n", b"x:"),
        (b"X: a:b\r\n  \tc\r\n", b"x:a:b c"),
        (b"X: \xc3\xa4  \xff\r\n", b"x:\xc3\xa4 \xff"),
    ],
)
def test_fields(raw: bytes, form: bytes) -> None:
    assert relaxed_field(raw) == form
