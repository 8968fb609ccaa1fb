# SPDX-License-Identifier: GPL-3.0-or-later
"""A message while it is received: its id, its spool, and the header it will have."""

from __future__ import annotations

import time
from pathlib import Path

from relay_agent.message.header import HeaderError, Rule, received_line, submission_header
from relay_agent.queue.body import FileBody, MemoryBody, Spool
from relay_agent.queue.model import QueueFullError, new_queue_id
from relay_agent.submission.content import HeaderSplitter

__all__ = ["LONGEST_HEADER", "NO_ROOM", "IncomingMessage"]

LONGEST_HEADER = 262_144  # bytes
NO_ROOM = "452 4.3.1 There is no room on the disk; try again later"
_DISK_FAULT = "451 4.3.0 Something went wrong here; try again later"


class IncomingMessage:
    """Takes the content of one message, block by block, and has its header rewritten on the way.

    directory: where large content is spooled. hostname: the relay's. protocol: for the Received line.
    binary: the body may hold any octet (RFC 3030 3), so the header is still to be checked here.
    client: for the Received line, "" to keep it private. rule: what the header is held to.
    """

    def __init__(
        self,
        directory: Path,
        hostname: str,
        protocol: str,
        *,
        binary: bool = False,
        client: str = "",
        rule: Rule | None = None,
    ) -> None:
        self.queue_id = new_queue_id()
        self.started = time.time()
        self.message_id = ""
        self.eight_bit = False  # whether the content has octets beyond ASCII, so far
        self.spool = Spool(directory)
        self._hostname = hostname
        self._protocol = protocol
        self._binary = binary
        self._client = client
        self._rule = rule
        self._refusal: str | None = None
        self._body: MemoryBody | FileBody | None = None
        self._splitter = HeaderSplitter(self._rewrite, self._spool, LONGEST_HEADER)

    @property
    def refusal(self) -> str | None:
        """The SMTP reply when it is known already that the message must be refused."""
        return self._refusal

    def write(self, block: bytes) -> None:
        """Take the next block of clean content."""
        if self._refusal is None:
            self.eight_bit = self.eight_bit or not block.isascii()
            self._splitter.write(block)

    def complete(self) -> str | None:
        """The content is all there. Returns the SMTP reply when the message must be refused, else None."""
        if self._refusal is None:
            self._splitter.finish()
        if self._splitter.too_long:
            return f"552 5.3.4 The header is larger than {LONGEST_HEADER} bytes"
        return self._refusal

    def body(self) -> MemoryBody | FileBody:
        """The whole content, once it is complete. Raises QueueFullError and OSError when the disk refuses the rest."""
        self._body = self.spool.finish()
        return self._body

    def discard(self) -> None:
        """The message is not wanted after all; its file goes, too."""
        self.spool.discard()
        if self._body is not None:
            self._body.discard()

    def _rewrite(self, header: bytes, blank: bool) -> bytes:
        if self._binary and (
            b"\0" in header or not header.count(b"\r") == header.count(b"\n") == header.count(b"\r\n")
        ):
            self._refusal = "554 5.6.0 The header has a NUL byte, or a CR or LF that is no line end (RFC 3030 3)"
            return b""
        received = received_line(
            hostname=self._hostname,
            protocol=self._protocol,
            queue_id=self.queue_id,
            now=self.started,
            client=self._client,
        )
        try:
            result = submission_header(
                header,
                received=received,
                hostname=self._hostname,
                queue_id=self.queue_id,
                now=self.started,
                rule=self._rule,
            )
        except HeaderError as error:
            self._refusal = str(error)
            return b""
        self.message_id = result.message_id
        if not result.rest:
            return result.header + b"\r\n"
        return result.header + b"\r\n" + result.rest + (b"\r\n" if blank else b"")

    def _spool(self, block: bytes) -> None:
        if self._refusal is not None:
            return
        try:
            self.spool.write(block)
        except QueueFullError:
            self._refusal = NO_ROOM
        except OSError:  # too many open files, a directory that is gone
            self._refusal = _DISK_FAULT
