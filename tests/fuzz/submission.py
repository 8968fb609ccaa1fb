# SPDX-License-Identifier: GPL-3.0-or-later
"""The parts of a submission session that read bytes, each by itself."""

from __future__ import annotations

import base64
import hashlib
import hmac
import random
import re
import socket
import zlib
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any
from unittest.mock import patch

from relay_agent.accounts.scram import make_scram, parse_scram
from relay_agent.submission import chunks, content
from relay_agent.submission.address import PathError, parse_path
from relay_agent.submission.bearer import read_bearer
from relay_agent.submission.chunks import Chunk, ChunkedContent, parse_chunk_size
from relay_agent.submission.content import ContentReader
from relay_agent.submission.first_bytes import FirstBytes, ProxyHeaderError, client_of, read_proxy_header
from relay_agent.submission.lines import LineReader, LineTooLongError
from relay_agent.submission.parameters import Offer, read_mail_parameters, read_rcpt_parameters
from relay_agent.submission.scram import ScramDialogue, ScramError
from relay_agent.submission.sign_in import MECHANISMS, SignInError, decode

from .event_loop import FuzzLoop
from .promises import CONTROLS, in_words, whole_reply

__all__ = ["bdat_chunks", "bearer", "data_content", "lines", "path", "plain", "proxy_header", "scram"]

_PARAMETER = re.compile(r"[!-<>-~]*")  # esmtp-value (RFC 5321 4.1.2)
_KEYS = parse_scram(make_scram("s3cret", iterations=4096, salt=b"salt of alice"))


def _pieces(data: bytes) -> Iterator[bytes]:
    """The same pieces for the same data."""
    chance = random.Random(zlib.crc32(data))
    longest = chance.choice((1, 3, 40, 400))
    at = 0
    while at < len(data):
        size = chance.randint(1, longest)
        yield data[at : at + size]
        at += size


def path(data: bytes) -> None:
    """The argument of MAIL and RCPT: what is kept of it can go into a command as it stands."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return
    for keyword in ("FROM", "TO"):
        try:
            address, parameters = parse_path(text, keyword=keyword)
        except PathError as error:
            whole_reply(error)
            continue
        assert not CONTROLS.search(address)
        assert parse_path(f"{keyword}:<{address}>", keyword=keyword) == (address, {})
        for signed_in in (True, False):
            offer = Offer(100_000, tls=signed_in, signed_in=signed_in, longest_hold=604_800.0, now=1.8e9)
            try:
                found = read_mail_parameters(parameters, offer)
                assert offer.now <= (found.hold_until or offer.now) <= offer.now + offer.longest_hold
                kept = found.options
            except PathError as error:
                whole_reply(error)
                kept = {}
            try:
                kept |= read_rcpt_parameters(parameters, utf8=signed_in)
            except PathError as error:
                whole_reply(error)
            assert all(_PARAMETER.fullmatch(value) for value in kept.values()), kept


def lines(data: bytes) -> None:
    """Lines cut out of a buffer: the same however they come, and never much held."""
    longest = 64
    *whole, tail = data.split(b"\n")
    expected = [line + b"\n" if len(line) < longest else None for line in whole]
    if len(tail) > longest:
        expected.append(None)
    for pieces in ((data,), tuple(_pieces(data))):
        reader, buffer = LineReader(), bytearray()
        found: list[bytes | None] = []
        for piece in pieces:
            buffer += piece
            while True:
                try:
                    line_or_none = reader.take(buffer, longest)
                except LineTooLongError:
                    found.append(None)
                    continue
                if line_or_none is None:
                    break
                found.append(line_or_none)
            assert len(buffer) <= longest
        assert found == expected


def data_content(data: bytes) -> None:
    """The content behind DATA: its end, its dots, its line ends."""
    end = (b"\r\n" + data).find(b"\r\n.\r\n")
    raw = data[:end] if end >= 0 else data
    clean = re.sub(rb"(^|\r\n)\.", rb"\1", raw)
    stray = b"\0" in clean or re.search(rb"\r(?!\n)", clean)
    for pieces in ((data,), tuple(_pieces(data))):
        taken: list[bytes] = []
        buffer = bytearray()
        done = False
        with patch.object(content, "BLOCK", 64):
            reader = ContentReader(taken.append, 2000)
            for piece in pieces:
                buffer += piece
                if not done:
                    done = reader.feed(buffer)
                    assert done or len(buffer) < 64 + len(piece)
        assert done == (end >= 0)
        if not done:
            continue
        assert bytes(buffer) == data[end + 3 :]
        assert reader.size == len(raw)
        if reader.size > 2000 or stray:
            assert reader.fault is not None
        else:
            assert reader.fault is None
            assert b"".join(taken) == re.sub(rb"(?<!\r)\n", b"\r\n", clean)


def bdat_chunks(data: bytes) -> None:
    """The content of chunks: each begins with a line that says its size, as in `5 LAST`."""
    for binary in (False, True):
        taken: list[bytes] = []
        said = bytearray()
        with patch.object(chunks, "BLOCK", 64):
            whole = ChunkedContent(taken.append, 2000, binary=binary)
            rest, last = data, False
            while rest and not last:
                line, _, rest = rest.partition(b"\r\n")
                parsed = parse_chunk_size(line.decode("latin-1"))
                if parsed is None:
                    return
                size, last = parsed
                chunk = Chunk(size, whole, last=last)
                said += rest[:size]
                buffer = bytearray()
                done = chunk.feed(buffer)
                for piece in _pieces(rest):
                    if done:
                        buffer += piece
                        continue
                    buffer += piece
                    done = chunk.feed(buffer)
                    assert done or not buffer
                if not done:
                    return
                assert bytes(buffer) == rest[size:]
                rest = bytes(buffer)
            if not last:
                return
            whole.finish()
        clean = bytes(said)
        if not binary:
            clean = re.sub(rb"(?<!\r)\n", b"\r\n", clean)
            clean += b"" if clean.endswith(b"\r\n") or not clean else b"\r\n"
        assert whole.size == len(said)
        if whole.size > 2000 or (not binary and (b"\0" in clean or re.search(rb"\r(?!\n)", clean))):
            assert whole.fault is not None
        else:
            assert whole.fault is None
            assert b"".join(taken) == clean


def proxy_header(data: bytes) -> None:
    """A PROXY header: taken to its last byte and no further, or refused."""
    loop = FuzzLoop()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        for end in (ours, theirs):
            end.setblocking(False)
        theirs.send(data[:60_000])
        theirs.shutdown(socket.SHUT_WR)

        async def read() -> Any:
            first = FirstBytes(ours)
            assert await first.begins_with_tls(1.0) == (data[:1] == b"\x16")
            return await read_proxy_header(first, 5.0)

        try:
            header = loop.run(read())
        except ProxyHeaderError as error:
            in_words(error)
        else:
            client = client_of(header)
            if client is not None:
                ip_address(client[0])
                assert 0 <= client[1] <= 65_535
            size = data.index(b"\r\n") + 2 if header.version == 1 else 16 + int.from_bytes(data[14:16], "big")
            try:
                left = ours.recv(65_536)
            except BlockingIOError:
                left = b""
            assert left == data[size:60_000]
        finally:
            loop.close()


def scram(data: bytes) -> None:
    """SCRAM-SHA-256: the client's first message, a line feed, its final one."""
    first, _, final = data.partition(b"\n")
    dialogue = ScramDialogue("nonce-of-the-server")
    try:
        name = dialogue.begin(first)
        assert name
        assert "\0" not in name
        challenge = dialogue.challenge(_KEYS)
        assert challenge.isascii()
        verdict = dialogue.finish(final)
    except ScramError as error:
        in_words(error)
        return
    if verdict is None:
        return
    # Only who knows the password gets here.
    without, _, proof = final.rpartition(b",p=")
    bare = b",".join(first.split(b",")[2:])
    salted = hashlib.pbkdf2_hmac("sha256", b"s3cret", _KEYS.salt, _KEYS.iterations)
    key = hmac.digest(salted, b"Client Key", "sha256")
    signature = hmac.digest(hashlib.sha256(key).digest(), b",".join((bare, challenge, without)), "sha256")
    assert base64.b64decode(proof) == bytes(one ^ other for one, other in zip(key, signature, strict=True))


def bearer(data: bytes) -> None:
    """The responses of OAUTHBEARER and XOAUTH2."""
    for mechanism in ("OAUTHBEARER", "XOAUTH2"):
        try:
            name, token = read_bearer(mechanism, data)
        except SignInError as error:
            whole_reply(error)
            continue
        assert "\0" not in name
        assert "\x01" not in name
        assert re.fullmatch(r"[A-Za-z0-9._~+/=-]+", token)


def plain(data: bytes) -> None:
    """The answers of PLAIN and LOGIN, one a line; the first goes with the command."""
    for mechanism in MECHANISMS.values():
        initial, *answers = data.split(b"\n")

        async def ask(challenge: bytes, answers: list[bytes] = answers) -> bytes:
            assert challenge in (b"", b"Username:", b"Password:")
            return answers.pop(0) if answers else b"*"

        for first in (initial, None):
            try:
                name, _ = _without_loop(mechanism(first, ask))
            except SignInError as error:
                whole_reply(error)
            else:
                assert name
                assert "\0" not in name
    try:
        decode(data)
    except SignInError as error:
        whole_reply(error)


def _without_loop(work: Any) -> Any:
    """The result of a coroutine that never waits."""
    try:
        work.send(None)
    except StopIteration as ended:
        return ended.value
    raise AssertionError("it waits")
