# SPDX-License-Identifier: GPL-3.0-or-later
"""Inputs made of others: for the short run, and for the long one where there is no atheris."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

__all__ = ["WORDS", "mutations"]

#: What parsers of mail stumble over; also the dictionary of the long run.
WORDS: tuple[bytes, ...] = (
    b"\r\n", b"\n", b"\r", b"\x00", b".", b"\r\n.\r\n", b"\n.\n", b"\r.\r", b"\r\n\r\n", b"\xff", b"\xc3\xbc",
    b"=?utf-8?q?=0D=0A?=", b"<", b">", b"@", b'"', b"\\", b"(", b")", b":", b";", b",", b"=", b"+0D+0A",
    b"\xe2\x80\xa8", b"\xc2\x85", b"EHLO x\r\n", b"MAIL FROM:<a@alpha.test>", b"RCPT TO:<b@beta.test>", b"DATA\r\n",
    b"BDAT 3 LAST\r\n", b"RSET\r\n", b"STARTTLS\r\n", b"AUTH LOGIN\r\n", b"AUTH PLAIN AGFsaWNlAHMzY3JldA==\r\n",
    b"QUIT\r\n", b" BODY=BINARYMIME", b" SMTPUTF8", b" SIZE=", b" HOLDFOR=9", b"From: ", b"Bcc: x\r\n", b"\r\n\t",
    b"\x16\x03\x01", b"GET / HTTP/1.1\r\n", b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n", b"250-", b"250 ", b"354 ",
    b"421 ", b"550 5.1.1 ", b"99999999999999999999", b"-1", b"1e999", b"{", b"}", b"[", b"]", b"null", b'"reply":',
    b'"call":', b"[[listener]]\n", b"nan", b"\xed\xa0\x80",
)  # fmt: skip


def mutations(seeds: Sequence[bytes], seed: int, count: int, longest: int = 4096) -> Iterator[bytes]:
    """So many inputs, always the same for the same arguments."""
    chance = random.Random(seed)
    for _ in range(count):
        data = bytearray(chance.choice(seeds))
        for _ in range(1 << chance.randrange(4)):
            _change(data, seeds, chance)
        yield bytes(data[:longest])


def _change(data: bytearray, seeds: Sequence[bytes], chance: random.Random) -> None:
    at = chance.randint(0, len(data))
    end = min(len(data), at + chance.choice((1, 2, 8, 64)))
    match chance.randrange(7):
        case 0:
            data[at:at] = chance.choice(WORDS)
        case 1:
            data[at:end] = chance.choice(WORDS)
        case 2:
            del data[at:end]
        case 3:
            data[at:at] = data[at:end] * chance.choice((1, 2, 40))
        case 4:
            other = chance.choice(seeds)
            begin = chance.randint(0, len(other))
            data[at:at] = other[begin : begin + 64]
        case 5 if at < len(data):
            data[at] = chance.randrange(256)
        case _:
            data[at:end] = chance.randbytes(end - at)
