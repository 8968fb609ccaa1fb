# SPDX-License-Identifier: GPL-3.0-or-later
"""The next hop: a mail server that keeps what it is given, envelope and content, and speaks SMTPUTF8.

Postfix's smtp-sink, which the other tests use, does not take addresses beyond ASCII.
"""

from __future__ import annotations

import email.policy
import threading
import time
from dataclasses import dataclass
from email import message_from_bytes
from email.message import EmailMessage

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

__all__ = ["Arrived", "NextHop"]


@dataclass(frozen=True)
class Arrived:
    """One message, with CRLF line ends and without the dots of transparency (RFC 5321 4.5.2)."""

    sender: str
    options: tuple[str, ...]
    recipients: tuple[str, ...]
    content: bytes
    message: EmailMessage

    def bears(self, token: str) -> bool:
        """Whether `token` stands in the subject or in a recipient's address."""
        return token in str(self.message["Subject"]) or any(token in each for each in self.recipients)


class NextHop:
    """Listens on loopback in a thread of its own."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._arrived: list[Arrived] = []
        self._changed = threading.Condition()
        self._controller = Controller(
            self,
            hostname="127.0.0.1",
            port=port,
            enable_SMTPUTF8=True,
            ident="next hop",
            server_hostname="next.test",
            ready_timeout=30.0,
        )

    def start(self) -> None:
        self._controller.start()

    def stop(self) -> None:
        self._controller.stop()

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        content = envelope.content
        assert isinstance(content, bytes)
        message = message_from_bytes(content, policy=email.policy.default)
        assert isinstance(message, EmailMessage)
        arrived = Arrived(
            envelope.mail_from or "", tuple(envelope.mail_options), tuple(envelope.rcpt_tos), content, message
        )
        with self._changed:
            self._arrived.append(arrived)
            self._changed.notify_all()
        return "250 2.0.0 Kept"

    def take(self, token: str, *, recipients: int = 1, seconds: float = 30.0) -> list[Arrived]:
        """The messages that bear `token`, once they have come for so many recipients in all."""
        end = time.monotonic() + seconds
        with self._changed:
            while True:
                found = [each for each in self._arrived if each.bears(token)]
                if sum(len(each.recipients) for each in found) >= recipients:
                    return found
                left = end - time.monotonic()
                assert left > 0, f"{token} has not come for {recipients} recipients within {seconds} s: {found}"
                self._changed.wait(left)

    def has(self, token: str) -> bool:
        """Whether anything that bears this token has come so far."""
        with self._changed:
            return any(each.bears(token) for each in self._arrived)
