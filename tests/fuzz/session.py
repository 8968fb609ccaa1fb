# SPDX-License-Identifier: GPL-3.0-or-later
"""A whole submission session: what a client sends, held against a reader that knows only the RFC.

The reader goes through the input in lock-step: a line, its reply; content, its one reply. What the same bytes
give when they come in any other pieces, at any other moment, must be the same.
"""

from __future__ import annotations

import io
import random
import re
import ssl
import tempfile
import zlib
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import cast
from unittest.mock import patch

from relay_agent.accounts.hashing import DUMMY_HASH
from relay_agent.accounts.scram import make_scram
from relay_agent.accounts.store import Account, normalise_name
from relay_agent.accounts.verifier import Verifier
from relay_agent.config.load import parse_config
from relay_agent.observability.log import MailLog
from relay_agent.policy.guessing import Guard
from relay_agent.policy.quota import Quotas
from relay_agent.queue.body import FileBody, MemoryBody
from relay_agent.queue.model import Message, QueueStore
from relay_agent.submission import chunks, content, envelope, hello, incoming, intake
from relay_agent.submission.service import SubmissionService
from relay_agent.submission.session import SubmissionSession, session_factory

from .event_loop import FuzzLoop, Wire
from .promises import CONTROLS

__all__ = ["session", "session_cut_everywhere", "starttls_session"]

_CONFIG = parse_config(
    """
hostname = "relay.test"
[[listener]]
port = 2525
tls = "none"
auth = "optional"
[[listener]]
port = 2526
tls = "starttls"
[tls]
certificate = "/nowhere/chain.pem"
key = "/nowhere/key.pem"
[submission]
trusted_networks = ["127.0.0.0/8"]
max_message_size = 100000
[policy]
messages_per_hour = 0
recipients_per_hour = 0
""",
    "fuzz.toml",
)
_ALICE = Account(
    "alice",
    DUMMY_HASH,
    addresses=("alice@alpha.test",),
    scram=make_scram("s3cret", iterations=4096, salt=b"salt of alice"),
)
_NOW = 1_800_000_000.0
_LONGEST_REPLY = 512  # octets, RFC 5321 4.5.3.1.5
_MOST_HELD = 262_144 + 65_536 + 2048  # bytes that may wait in a session: its high water and a read on top
_REPLY = re.compile(rb"[2-5][0-9][0-9][ -][ -~\x80-\xff]*")
_BDAT = re.compile(rb"BDAT +([0-9]{1,19})(?: +(LAST))? *", re.IGNORECASE)
_SPOOL = tempfile.TemporaryDirectory(prefix="postroad-fuzz-")


@contextmanager
def _same_moment() -> Iterator[None]:
    """Everything that is compared happens at the same moment; blocks are so small that short inputs have many."""
    with ExitStack() as stack:
        for module in (envelope, hello, incoming, intake):
            stack.enter_context(patch.object(module, "time", SimpleNamespace(time=lambda: _NOW)))
        for module in (chunks, content):
            stack.enter_context(patch.object(module, "BLOCK", 64))
        yield


class _KnownPasswords(Verifier):
    """Says at once what a hash would tell later."""

    async def verify(self, name: str, password: bytes) -> Account | None:
        try:
            account = self.account(normalise_name(name))
        except ValueError:
            return None
        return account if password == b"s3cret" else None


class _Store:
    def __init__(self) -> None:
        self.messages: list[tuple[Message, bytes]] = []

    def spool_directory(self) -> Path:
        return Path(_SPOOL.name)

    async def store(self, message: Message) -> None:
        assert isinstance(message.body, MemoryBody | FileBody)
        content = message.body.read()
        assert message.body.size == len(content)
        message.body.discard()
        _check_stored(message, content)
        self.messages.append((message, content))

    def submit(self, message: Message) -> None:
        pass


class _Line(Wire):
    """The client's end: what is sent waits while the session does not read, as it does in a socket."""

    def __init__(self, loop: FuzzLoop) -> None:
        super().__init__()
        self.loop = loop
        self.session: SubmissionSession | None = None
        self.coming: deque[bytes] = deque()

    def resume_reading(self) -> None:
        super().resume_reading()
        self.loop.call_soon(self.deliver)

    def deliver(self) -> None:
        assert self.session is not None
        if self.coming and self.reading and not self.closed and self.session.transport is not None:
            self.session.data_received(self.coming.popleft())
            assert len(self.session._in) <= _MOST_HELD


@dataclass
class _Run:
    """One session from its first byte to its last."""

    written: bytes
    messages: list[tuple[object, ...]]


class _Session:
    """A session that is fed by hand."""

    def __init__(self, *, listener: int) -> None:
        self.loop = loop = FuzzLoop()
        self.store = _Store()
        self.log = io.StringIO()
        verifier = _KnownPasswords({"alice": _ALICE})
        self.service = SubmissionService(
            _CONFIG,
            cast(QueueStore, self.store),
            self.store,
            verifier,
            MailLog(self.log),
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) if listener else None,
            quotas=Quotas(clock=loop.time),
            guard=Guard(clock=loop.time),
            _secret=b"secret",
        )
        self.wire = _Line(loop)
        self.session = self.wire.session = session_factory(self.service, _CONFIG.listener[listener], loop)()
        self.session.connection_made(self.wire)
        self.told = 0
        assert self.new_replies() == [b"220 relay.test ESMTP"]

    def send(self, data: bytes) -> list[bytes]:
        """Send this and wait until the session has done what it does about it; the reply lines that came."""
        self.wire.coming.append(data)
        self.loop.call_soon(self.wire.deliver)
        self.loop.settle()
        assert self.wire.closed or not self.wire.coming, "it reads no more"
        return self.new_replies()

    def new_replies(self) -> list[bytes]:
        written = bytes(self.wire.written[self.told :])
        self.told += len(written)
        assert not written or written.endswith(b"\r\n")
        lines = written[:-2].split(b"\r\n") if written else []
        for line in lines:
            assert _REPLY.fullmatch(line), line
            assert len(line) + 2 <= _LONGEST_REPLY, line
            line.decode()
        return lines

    def end(self) -> _Run:
        """The client ends its stream, then the connection; whatever the session held must be given back."""
        if not self.wire.closed:
            self.loop.call_soon(self.session.eof_received)
            self.loop.settle()
            assert self.wire.closed, "it waits for a client that has ended"
        self.new_replies()
        self.session.connection_lost(None)
        self.loop.settle()
        assert len(self.service.sessions) == 0
        assert self.session._step_task is None
        assert not list(Path(_SPOOL.name).iterdir()), "a spool file is left"
        cast(MailLog, self.service.events).flush()
        assert "command_failed" not in self.log.getvalue(), self.log.getvalue()
        self.service.verifier.close()
        self.loop.close()
        return _comparable(bytes(self.wire.written), self.store.messages)


def _check_stored(message: Message, content: bytes) -> None:
    """What leaves the session for the queue can go into commands and content as it stands."""
    words = [message.envelope.reverse_path, *message.envelope.options.values()]
    for recipient in message.recipients.values():
        words += [recipient.address, *recipient.options.values()]
    assert not any(CONTROLS.search(word) for word in words), words
    if message.envelope.options.get("BODY") != "BINARYMIME":
        assert content.count(b"\r") == content.count(b"\n") == content.count(b"\r\n")
        assert b"\0" not in content
        assert content.endswith(b"\r\n")
    assert content.startswith(b"Received: by relay.test (Postroad) with ")


def _comparable(written: bytes, messages: list[tuple[Message, bytes]]) -> _Run:
    """Without what is different each time: queue ids, nonces, waits."""
    written = re.sub(rb"\r\n334 [A-Za-z0-9+/=]{60,}", b"\r\n334 challenge", written)
    # Of several faults of a message the one that is told is the first in its block.
    written = re.sub(rb"\r\n55[24] 5\.(?:3\.4|6\.0) The message [^\r]*", b"\r\n55x refused", written)
    written = re.sub(rb"try again in [0-9]+ [a-z]+", b"try again later", written)
    stored: list[tuple[object, ...]] = []
    for message, body in messages:
        kept = body
        for name in (message.queue_id, message.queue_id.lower()):
            written = written.replace(name.encode(), b"ID")
            kept = kept.replace(name.encode(), b"ID")
        stored.append((message.envelope, message.recipients, message.expires, kept))
    return _Run(written, stored)


class _Reader:
    """Goes through the input as RFC 5321 and RFC 3030 read it, and lets nothing happen out of turn."""

    def __init__(self, session: _Session) -> None:
        self._session = session
        self._signing_in = False

    def read(self, data: bytes) -> None:
        while data and not self._session.wire.closed:
            line, end, rest = data.partition(b"\n")
            replies = self._session.send(line + end)
            if not end:
                assert all(reply[:1] == b"5" for reply in replies), "half a line was taken for a whole one"
                return
            data = self._command(line + end, replies, rest)

    def _command(self, line: bytes, replies: list[bytes], rest: bytes) -> bytes:
        """Hold the replies to one line against it; what is left after content that followed."""
        signing_in, session = self._signing_in, self._session
        code = replies[-1][:3] if replies else b""
        self._signing_in = code == b"334" or (signing_in and replies[-1:] == [b"500 5.5.2 The line is too long"])
        assert line.endswith(b"\r\n") or code[:1] == b"5", "a bare line feed ended a command"
        chunk = _BDAT.fullmatch(line[:-2])
        if chunk is not None and len(line) <= 2048 and not signing_in and line.endswith(b"\r\n"):
            return self._chunk(int(chunk[1]), chunk[2] is not None, replies, rest)
        assert session.wire.closed or signing_in or not re.match(rb"(?i)BDAT(?: |\r?\n)", line), "lost in a chunk"
        final = [reply for reply in replies if reply[3:4] == b" "]
        assert len(final) == 1 or (len(final) == 2 and final[1][:3] == b"421" and session.wire.closed), replies
        return self._content(rest) if code == b"354" else rest

    def _content(self, rest: bytes) -> bytes:
        """RFC 5321 4.1.1.4: everything up to CRLF "." CRLF, and nothing else ends it."""
        session = self._session
        end = (b"\r\n" + rest).find(b"\r\n.\r\n")
        before = len(session.store.messages)
        if end < 0:
            assert not session.send(rest), "content was answered before its end"
            assert len(session.store.messages) == before
            return b""
        content, rest = rest[:end], rest[end + 3 :]
        assert not session.send(content), "content was answered before its end"
        assert len(session.store.messages) == before
        replies = session.send(b".\r\n")
        assert len(replies) == 1, replies
        clean = re.sub(rb"(^|\r\n)\.", rb"\1", content)
        if b"\0" in clean or re.search(rb"\r(?!\n)", clean):
            assert replies[0][:1] == b"5", "a stray CR or NUL was taken"
        self._kept(replies[0], before, re.sub(rb"(?<!\r)\n", b"\r\n", clean))
        return rest

    def _chunk(self, size: int, last: bool, replies: list[bytes], rest: bytes) -> bytes:
        """RFC 3030 2: so many octets, whatever they look like, and one reply."""
        session = self._session
        if size and rest and not session.wire.closed:
            assert not replies, "a chunk was answered before it was there"
            replies = session.send(rest[:size])
        if len(rest) >= size:
            assert len(replies) == 1, replies
            assert last or not replies[0].startswith(b"250 2.0.0 Queued")
        else:
            assert not replies, "a chunk was answered before it was there"
        return rest[size:]

    def _kept(self, reply: bytes, before: int, clean: bytes) -> None:
        messages = self._session.store.messages
        if not reply.startswith(b"250 "):
            assert len(messages) == before, "stored without a 250"
            return
        assert len(messages) == before + 1, "a 250 for what was not stored"
        _, blank, body = (b"\r\n" + clean).partition(b"\r\n\r\n")
        kept = messages[-1][1]
        assert kept.endswith(b"\r\n\r\n" + body if blank else b"\r\n"), "the body is another"


def _in_pieces(data: bytes, listener: int) -> _Run:
    """The same bytes cut anywhere, the pieces come while the session still works, or later."""
    chance = random.Random(zlib.crc32(data))
    session = _Session(listener=listener)
    longest = chance.choice((1, 3, 40, 4000))
    at = 0
    when = 0.0
    while at < len(data):
        size = chance.randint(1, longest)
        session.wire.coming.append(data[at : at + size])
        session.loop.call_later(when, session.wire.deliver)
        when += chance.choice((0.0, 0.0, 0.001, 2.0))
        at += size
    session.loop.settle()
    return session.end()


def _at_once(data: bytes, listener: int) -> _Run:
    session = _Session(listener=listener)
    session.send(data)
    return session.end()


@_same_moment()
def session(data: bytes) -> None:
    """On a port in the clear, whose clients may sign in: equal however the bytes come."""
    reference = _Session(listener=0)
    _Reader(reference).read(data)
    expected = reference.end()
    for other in (_at_once, _in_pieces):
        found = other(data, 0)
        assert found.written == expected.written, f"{other.__name__}: other replies"
        assert found.messages == expected.messages, f"{other.__name__}: other messages"


@_same_moment()
def session_cut_everywhere(data: bytes) -> None:
    """In two pieces, the second when all that the first leads to is done, for each place to cut at."""
    expected = _at_once(data, 0)
    for place in range(1, len(data)):
        cut = _Session(listener=0)
        cut.send(data[:place])
        cut.send(data[place:])
        found = cut.end()
        assert found.written == expected.written, f"cut at {place}: other replies"
        assert found.messages == expected.messages, f"cut at {place}: other messages"


@_same_moment()
def starttls_session(data: bytes) -> None:
    """On a port that wants STARTTLS: nothing that comes in the clear signs in, or becomes a message."""
    reference = _Session(listener=1)
    _Reader(reference).read(data)
    expected = reference.end()
    for found in (expected, _at_once(data, 1), _in_pieces(data, 1)):
        assert not found.messages
        lines = found.written.split(b"\r\n")
        assert not any(line.startswith((b"235", b"334", b"354", b"250 2.1")) for line in lines), lines
        assert lines[-2][:8] == b"220 2.0." or b"220 2.0.0 Go ahead with TLS" not in lines, "said behind STARTTLS"
