# SPDX-License-Identifier: GPL-3.0-or-later
"""What a mail program is asked to do: which message to send, and by which way."""

from __future__ import annotations

import email.policy
from dataclasses import dataclass, field
from email.message import EmailMessage

__all__ = ["ATTACHMENT", "TEXT", "WAYS", "Letter", "Way"]

# The `tls` of a listener, and what a program may be set to that uses it.
WAYS = (("starttls", "starttls"), ("implicit", "implicit"), ("auto", "starttls"), ("auto", "implicit"))

# Dots that transparency (RFC 5321 4.5.2) must leave as they are, text beyond ASCII, and what looks like commands.
TEXT = """Grüße aus Zürich, 東京 und Αθήνα.

.a line that begins with a dot
..with two
.
and one that was nothing but a dot
QUIT
The end.
"""
ATTACHMENT = bytes(range(256)) * 16 + b"\r\n.\r\n\n.\n"


@dataclass(frozen=True)
class Letter:
    """A message. token stands in its subject, by which it is found at the next hop."""

    token: str
    sender: str
    recipients: tuple[str, ...]
    text: str = TEXT
    attachment: bytes = ATTACHMENT

    @property
    def subject(self) -> str:
        return f"{self.token}: größer"

    def content(self) -> bytes:
        """The message as a program with no composer of its own gets it: LF line ends, 8-bit text."""
        message = EmailMessage()
        message["From"] = self.sender
        message["To"] = ", ".join(self.recipients[:3])
        message["Subject"] = self.subject
        message.set_content(self.text, cte="8bit")
        message.add_attachment(self.attachment, "application", "octet-stream", filename="data.bin")
        utf8 = not f"{self.sender}{''.join(self.recipients)}".isascii()
        return message.as_bytes(policy=email.policy.default.clone(cte_type="8bit", utf8=utf8))


@dataclass(frozen=True)
class Way:
    """A port and how to sign in on it.

    tls: `starttls` or `implicit`; mechanism "": whichever the program likes.

    verbose: whether the program is to say what goes over the line.
    """

    host: str
    port: int
    tls: str
    authority: str
    account: str
    password: str = field(repr=False)
    mechanism: str = ""
    verbose: bool = True
