# SPDX-License-Identifier: GPL-3.0-or-later
"""Holds the header's From and Sender against what the account may send as (RFC 6409 6.1 and 8.1).

The reader of a message sees From, not the envelope. So every address in From and in Sender must be the
account's; a message whose From can be read in two ways is refused, because the check and the reader might
disagree about it.
"""

from __future__ import annotations

from dataclasses import dataclass

from relay_agent.message.header import Field, HeaderError
from relay_agent.message.mailbox import Mailbox, MailboxError, parse_mailboxes

from .senders import AllowedSenders

__all__ = ["AuthorRule"]

_LONGEST_NAME = 300  # characters of a name that is kept on rewriting


@dataclass(slots=True, frozen=True)
class AuthorRule:
    """A rule for one message.

    senders: what its account may use. envelope_sender: the checked reverse path, "" for the null one.
    replacement: the address that takes the place of one that is not the account's; "" to refuse instead.
    """

    senders: AllowedSenders
    envelope_sender: str
    replacement: str = ""

    def __call__(self, fields: list[Field]) -> list[Field]:
        """The fields to go on with. Raises HeaderError with the SMTP reply."""
        authors = [field for field in fields if field.name == b"from"]
        problem, name = self._problem(authors)
        if not authors and problem is None:
            # Without From the reader would see whatever the recipients' server makes up.
            fields = [*fields, Field(b"from", f"From: <{self.envelope_sender}>\r\n".encode())]
        elif problem is not None:
            fields = self._replaced(fields, problem, name)
        senders = [field for field in fields if field.name == b"sender"]
        if senders:
            problem = self._sender_problem(senders)
            if problem is not None:
                if not self.replacement:
                    raise HeaderError(problem)
                fields = [field for field in fields if field.name != b"sender"]
        return fields

    def _problem(self, authors: list[Field]) -> tuple[str | None, str]:
        """What is wrong with From as an SMTP reply, and the name to keep when it is rewritten."""
        if not authors:
            if self.envelope_sender:
                return None, ""
            return "554 5.6.0 The message has no From line", ""
        if len(authors) > 1:
            return "554 5.6.0 The message has more than one From line (RFC 5322 3.6)", ""
        try:
            mailboxes = _mailboxes(authors[0])
        except MailboxError as error:
            return f"554 5.6.0 The From line {error}", ""
        if not mailboxes:
            return "554 5.6.0 The From line has no address", ""
        foreign = self._foreign(mailboxes)
        name = mailboxes[0].name if "@" not in mailboxes[0].name else ""
        return (foreign and f"553 5.7.1 You may not send with {foreign} in From; {_HINT}"), name

    def _sender_problem(self, senders: list[Field]) -> str | None:
        try:
            mailboxes = _mailboxes(senders[0])
        except MailboxError as error:
            return f"554 5.6.0 The Sender line {error}"
        if len(senders) > 1 or len(mailboxes) != 1:
            return "554 5.6.0 Sender is one line with one address (RFC 5322 3.6.2)"
        foreign = self._foreign(mailboxes)
        return foreign and f"553 5.7.1 You may not send with {foreign} in Sender; {_HINT}"

    def _foreign(self, mailboxes: list[Mailbox]) -> str | None:
        """The first address that is not the account's, in a form that fits into a reply."""
        for mailbox in mailboxes:
            if not self.senders.permits(mailbox.address):
                return "<" + mailbox.address[:120].encode("ascii", "backslashreplace").decode() + ">"
        return None

    def _replaced(self, fields: list[Field], problem: str, name: str) -> list[Field]:
        if not self.replacement:
            raise HeaderError(problem)
        kept = name if len(name) <= _LONGEST_NAME else ""
        line = f"From: {kept} <{self.replacement}>\r\n" if kept else f"From: <{self.replacement}>\r\n"
        new = Field(b"from", line.encode())
        place = next((number for number, field in enumerate(fields) if field.name == b"from"), len(fields))
        rest = [field for field in fields if field.name != b"from"]
        return [*rest[:place], new, *rest[place:]]


_HINT = "choose an address of your account as the sender"


def _mailboxes(field: Field) -> list[Mailbox]:
    try:
        text = field.value().decode()
    except UnicodeDecodeError:
        raise MailboxError("has bytes that are not UTF-8 (RFC 6532)") from None
    return parse_mailboxes(text)
