# SPDX-License-Identifier: GPL-3.0-or-later
"""Taking a message in: its content, the commit, and the 250 that promises it."""

from __future__ import annotations

import time
from collections.abc import Coroutine
from typing import Any

from relay_agent.observability import measured
from relay_agent.queue.model import HELD_FOR, HELD_UNTIL, Body, Envelope, Message, QueueFullError, Recipient
from relay_agent.submission.chunks import Chunk, ChunkedContent, parse_chunk_size
from relay_agent.submission.content import ContentReader
from relay_agent.submission.incoming import NO_ROOM, IncomingMessage
from relay_agent.submission.read_side import Content
from relay_agent.submission.state import SessionState

__all__ = ["ContentCommands"]


class ContentCommands(SessionState):
    """The commands that carry content."""

    async def smtp_DATA(self, arg: str | None) -> None:
        """RFC 5321 4.1.1.4."""
        refusal = self._content_refusal()
        if refusal is None and self._chunks is not None:
            refusal = "503 5.5.1 Not after BDAT: this message comes in chunks"
        if refusal is None and self._binary:
            refusal = "503 5.5.1 BODY=BINARYMIME goes with BDAT only"
        if refusal is None and arg:
            refusal = "501 5.5.4 DATA takes no argument"
        if refusal is not None:
            self.say(refusal)
            return
        incoming = self._begin()
        self.expect_content(ContentReader(incoming.write, self.rights.max_message_size))
        self.say("354 Go ahead; end with a line that is only a dot")

    async def smtp_BDAT(self, arg: str | None) -> None:
        """RFC 3030 2. A chunk that is refused is read all the same, so that its content is never a command."""
        parsed = parse_chunk_size(arg or "")
        if parsed is None:
            # Where the next command begins is anybody's guess now, so there is no next command.
            self.say("501 5.5.4 Syntax: BDAT octets [LAST]; closing, as the chunk cannot be told from commands")
            self.close_after_reply()
            return
        size, last = parsed
        refusal = self._content_refusal()
        if refusal is not None:
            self.expect_content(Chunk(size, None, reply=refusal))
            return
        if self._chunks is None:
            incoming = self._begin()
            self._chunks = ChunkedContent(incoming.write, self.rights.max_message_size, binary=self._binary)
        self.expect_content(Chunk(size, self._chunks, last=last))

    @property
    def _binary(self) -> bool:
        return self.mail.options.get("BODY") == "BINARYMIME"

    def _content_refusal(self) -> str | None:
        """The reply when no content can come now."""
        assert self.envelope is not None
        if self.envelope.mail_from is None:
            return "503 5.5.1 Give MAIL first"
        return None if self.envelope.rcpt_tos else "503 5.5.1 Give RCPT first"

    def _begin(self) -> IncomingMessage:
        directory = self.service.store.spool_directory()
        incoming = IncomingMessage(
            directory,
            self.hostname,
            self.trace_protocol(),
            binary=self._binary,
            client=self.trace_client(),
            rule=self.rights.header_rule(self.mail.mail_from or ""),
        )
        self._incoming = incoming
        return incoming

    def content_complete(self, content: Content) -> Coroutine[Any, Any, None]:
        if isinstance(content, Chunk):
            return self._take_chunk(content)
        assert isinstance(content, ContentReader)
        return self._take_message(content.fault)

    async def _take_chunk(self, chunk: Chunk) -> None:
        content, incoming = chunk.content, self._incoming
        if content is None:
            self.say(chunk.reply)
            return
        assert incoming is not None
        if chunk.last:
            content.finish()
        fault = content.fault or incoming.refusal
        if chunk.last or fault is not None:
            # Chunks that were sent behind a refused one find no message and are dropped (RFC 3030 2).
            await self._take_message(fault)
        else:
            self.say(f"250 2.0.0 {chunk.size} octets taken")

    async def _take_message(self, fault: str | None) -> None:
        incoming, envelope = self._incoming, self.mail
        assert incoming is not None
        assert envelope.mail_from is not None
        # From here on the message is no longer the connection's: a client that hangs up does not undo a commit.
        self._incoming = None
        self._chunks = None
        self.envelope = self._create_envelope()
        refusal = fault or incoming.complete()
        if refusal is not None:
            incoming.discard()
            self._refused(incoming, refusal)
            return
        try:
            body: Body = incoming.body()
            if self.service.signer is not None and self.service.signer.active:
                body = await self.service.signer.signed(body, incoming.queue_id)
            options = envelope.options
            if incoming.eight_bit and options.get("BODY") != "BINARYMIME":
                # Most mail programs send 8-bit text without a word; the next server is told (RFC 6152 3).
                options = {**options, "BODY": "8BITMIME"}
            held_until = envelope.held_until(time.time())
            if held_until:
                options = {**options, HELD_UNTIL: f"{held_until:.0f}"}
                if envelope.hold_for is not None:
                    options[HELD_FOR] = f"{envelope.hold_for:.0f}"
            # An id a recipient, once each: a program that names one twice means one copy.
            addresses = list(dict.fromkeys(envelope.rcpt_tos))
            message = Message(
                queue_id=incoming.queue_id,
                envelope=Envelope(envelope.mail_from, self.account or "", options),
                recipients={
                    number: Recipient(address, envelope.recipient_options.get(address, {}), next_attempt=held_until)
                    for number, address in enumerate(addresses)
                },
                body=body,
                created=incoming.started,
                expires=max(incoming.started, held_until) + self.service.config.delivery.retry_for,
            )
            await self.service.accept(message)
            self.rights.accepted(len(addresses))
        except QueueFullError:
            incoming.discard()
            self._refused(incoming, NO_ROOM)
            return
        except Exception:
            measured.REFUSED["fault"] += 1
            incoming.discard()
            raise
        self.events.message_event(
            "accepted",
            {"to": addresses},
            queue_id=incoming.queue_id,
            account=self.account,
            peer=self.peer_address,
            port=self.listener.port,
            tls=self.tls_active,
            sender=envelope.mail_from,
            recipients=len(addresses),
            size=body.size,
            message_id=incoming.message_id,
            held_until=round(held_until) or None,
        )
        self.say(f"250 2.0.0 Queued as {incoming.queue_id}")

    def _refused(self, incoming: IncomingMessage, reply: str) -> None:
        self.service.counters["refused"] += 1
        measured.REFUSED[measured.reason_of(reply)] += 1
        self.events.event(
            "refused",
            level="warning",
            queue_id=incoming.queue_id,
            account=self.account,
            peer=self.peer_address,
            reply=reply,
        )
        self.say(reply)
