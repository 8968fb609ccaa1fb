# SPDX-License-Identifier: GPL-3.0-or-later
"""Taking a message in: its content, the commit, and the 250 that promises it."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from relay_agent.queue.model import Envelope, Message, QueueFullError, Recipient
from relay_agent.submission.content import ContentReader
from relay_agent.submission.incoming import NO_ROOM, IncomingMessage
from relay_agent.submission.state import SessionState

__all__ = ["ContentCommands"]


class ContentCommands(SessionState):
    """The commands that carry content."""

    async def smtp_DATA(self, arg: str | None) -> None:
        """RFC 5321 4.1.1.4."""
        assert self.envelope is not None
        if self.envelope.mail_from is None or not self.envelope.rcpt_tos:
            self.say(
                "503 5.5.1 Give RCPT first" if self.envelope.mail_from is not None else "503 5.5.1 Give MAIL first"
            )
            return
        if arg:
            self.say("501 5.5.4 DATA takes no argument")
            return
        incoming = self._incoming = IncomingMessage(
            self.service.store.spool_directory(), self.hostname, self.trace_protocol()
        )
        limit = self.service.config.submission.max_message_size
        self.expect_content(ContentReader(incoming.write, limit))
        self.say("354 Go ahead; end with a line that is only a dot")

    def content_complete(self, content: ContentReader) -> Coroutine[Any, Any, None]:
        return self._take_message(content)

    async def _take_message(self, content: ContentReader) -> None:
        incoming, envelope = self._incoming, self.envelope
        assert incoming is not None
        assert envelope is not None
        assert envelope.mail_from is not None
        # From here on the message is no longer the connection's: a client that hangs up does not undo a commit.
        self._incoming = None
        self.envelope = self._create_envelope()
        refusal = content.fault or incoming.complete()
        if refusal is not None:
            incoming.discard()
            self._refused(incoming, refusal)
            return
        try:
            body = incoming.spool.finish()
            # An id a recipient, once each: a program that names one twice means one copy.
            addresses = list(dict.fromkeys(envelope.rcpt_tos))
            message = Message(
                queue_id=incoming.queue_id,
                envelope=Envelope(envelope.mail_from, self.account or "", _kept_options(envelope.mail_options)),
                recipients={number: Recipient(address) for number, address in enumerate(addresses)},
                body=body,
                created=incoming.started,
                expires=incoming.started + self.service.config.delivery.retry_for,
            )
            await self.service.accept(message)
        except QueueFullError:
            incoming.discard()
            self._refused(incoming, NO_ROOM)
            return
        self.events.event(
            "accepted",
            queue_id=incoming.queue_id,
            account=self.account,
            peer=self.peer_address,
            port=self.listener.port,
            tls=self.tls_active,
            sender=envelope.mail_from,
            recipients=len(addresses),
            size=body.size,
            message_id=incoming.message_id,
        )
        self.say(f"250 2.0.0 Queued as {incoming.queue_id}")

    def _refused(self, incoming: IncomingMessage, reply: str) -> None:
        self.service.counters["refused"] += 1
        self.events.event(
            "refused",
            level="warning",
            queue_id=incoming.queue_id,
            account=self.account,
            peer=self.peer_address,
            reply=reply,
        )
        self.say(reply)


def _kept_options(options: list[str]) -> dict[str, str]:
    pairs = (option.partition("=") for option in options)
    return {key: value for key, _, value in pairs if key in ("BODY", "SMTPUTF8")}
