# SPDX-License-Identifier: GPL-3.0-or-later
"""A mail program's side of a submission session, without any I/O: what it sends, how many replies it awaits."""

from __future__ import annotations

import base64
from collections.abc import Callable, Generator
from typing import Protocol

from benchmarks.load.plan import Plan, build_message

__all__ = ["HOLD", "START_TLS", "WAIT", "Dialogue", "Jobs", "RefusedError", "ReplyReader", "Script", "Step"]

#: What to send and how many replies to wait for; or one of the three orders below.
Step = tuple[bytes, int]
START_TLS: Step = (b"", -1)  # begin TLS, then go on
WAIT: Step = (b"", -2)  # go on when there is another message to send
HOLD: Step = (b"", -3)  # stay connected and silent

Dialogue = Generator[Step, list[bytes], None]


class RefusedError(Exception):
    """The relay answered otherwise than hoped: `stage` of the session and its reply."""

    def __init__(self, stage: str, reply: bytes) -> None:
        super().__init__(f"{stage}: {reply.decode('latin-1')}")
        self.stage = stage
        self.reply = reply


class ReplyReader:
    """Makes replies of what arrives; of a reply of many lines the last one is kept (RFC 5321 4.2.1)."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """The replies that are complete now."""
        # One reply of one line, the usual case, costs no splitting.
        if not self._rest and data[3:4] == b" " and data.find(b"\n") == len(data) - 1:
            return [data]
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        if len(self._rest) > 65536:
            raise RefusedError("reply", b"a line without end")
        return [line for line in lines if line[3:4] != b"-"]


class Jobs(Protocol):
    """Where sessions get their messages from and tell what became of them."""

    def take(self) -> bool | None:
        """True: send another one. None: none now, wait. False: no more, end."""

    def done(self, began: float) -> None:
        """A message whose MAIL was sent at `began` has its 250."""


class Script:
    """The sessions of one plan.

    clock: seconds; read right before MAIL is handed over to be sent.
    """

    def __init__(self, plan: Plan, clock: Callable[[], float]) -> None:
        self._plan = plan
        self._clock = clock
        self._mail = f"MAIL FROM:<{plan.sender}>\r\n".encode()
        self._rcpt = f"RCPT TO:<{plan.recipient}>\r\n".encode()
        self._group = self._mail + self._rcpt + b"DATA\r\n"
        self._content = build_message(plan) + b".\r\n"
        credentials = base64.b64encode(f"\0{plan.user}\0{plan.password}".encode())
        self._auth = b"AUTH PLAIN " + credentials + b"\r\n" if plan.user else b""

    def opening(self) -> Dialogue:
        """From the greeting until mail can be sent."""
        plan = self._plan
        if plan.tls == "implicit":
            yield START_TLS
        expect("greeting", b"220", (yield b"", 1))
        expect("EHLO", b"250", (yield b"EHLO load.bench.test\r\n", 1))
        if plan.tls == "starttls":
            expect("STARTTLS", b"220", (yield b"STARTTLS\r\n", 1))
            yield START_TLS
            expect("EHLO", b"250", (yield b"EHLO load.bench.test\r\n", 1))
        if self._auth:
            expect("AUTH", b"235", (yield self._auth, 1))

    def sending(self, jobs: Jobs) -> Dialogue:
        """A whole session; the job of the first message has been taken already."""
        yield from self.opening()
        kept, pipelined, clock = self._plan.kept, self._plan.pipelined, self._clock
        while True:
            began = clock()
            if pipelined:
                replies = yield self._group, 3
                expect("MAIL", b"250", replies)
                expect("RCPT", b"250", replies[1:])
                expect("DATA", b"354", replies[2:])
            else:
                expect("MAIL", b"250", (yield self._mail, 1))
                expect("RCPT", b"250", (yield self._rcpt, 1))
                expect("DATA", b"354", (yield b"DATA\r\n", 1))
            expect("content", b"250", (yield self._content, 1))
            jobs.done(began)
            if not kept:
                break
            more = jobs.take()
            if more is None:
                yield WAIT
            elif not more:
                break
        yield b"QUIT\r\n", 1

    def holding(self) -> Dialogue:
        """A session that signs in and stays."""
        yield from self.opening()
        yield HOLD


def expect(stage: str, code: bytes, replies: list[bytes]) -> None:
    """Raise RefusedError unless the first reply has this code."""
    if not replies[0].startswith(code):
        raise RefusedError(stage, replies[0][:200].rstrip())
