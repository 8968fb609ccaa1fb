# SPDX-License-Identifier: GPL-3.0-or-later
"""One mail transaction over a connection: MAIL, RCPT, DATA or BDAT, and what became of each recipient."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from relay_agent.delivery.client import Connection
from relay_agent.delivery.content import END_OF_DATA, plain_blocks, stuffed_blocks
from relay_agent.delivery.domain import ascii_address
from relay_agent.delivery.outcome import (
    Deferred,
    Delivered,
    Failed,
    HostTrouble,
    Outcome,
    Scope,
    judge,
    judge_error,
)
from relay_agent.delivery.reply import Reply, ReplyError
from relay_agent.queue.model import Body, Envelope, Recipient

__all__ = ["MAX_RECIPIENTS", "ContentError", "Mail", "send"]

MAX_RECIPIENTS = 100  # in one transaction: what every server takes (RFC 5321 4.5.3.1.8)

_UNSAFE = re.compile(r"[\x00-\x20\x7f-\x9f<>\u2028\u2029\ud800-\udfff]")
_QUOTED = re.compile(r'"(?:[^"\\\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]|\\[\x20-\x7e])*"')
_PARAMETER = re.compile(r"[!-<>-~]{1,500}", re.ASCII)  # esmtp-value (RFC 5321 4.1.2)


class ContentError(Exception):
    """The message's content cannot be read from the queue's disk: nothing the other side did."""


@dataclass(slots=True, frozen=True)
class Mail:
    """What one transaction carries. utf8_header: the header holds what only SMTPUTF8 lets through. binary: the
    content holds what DATA cannot carry (RFC 3030 3): it goes by BDAT or not at all."""

    envelope: Envelope
    recipients: Mapping[int, Recipient]
    body: Body
    utf8_header: bool = False
    binary: bool = False


async def send(connection: Connection, mail: Mail) -> dict[int, Outcome]:
    """Carry `mail` over `connection`; the outcome of each recipient by its number.

    What the other side does never raises: a connection that is lost defers all recipients not decided before
    (`connection.usable` then says no). Raises ContentError when the content cannot be read; the connection is
    then cut, so that no half message is taken for a whole one.

    A message with 8-bit content goes as it is to a server without 8BITMIME: nearly all of these pass eight
    bits on, whereas a conversion breaks signatures and a bounce loses mail that would have arrived (RFC 6152 3
    asks for one of these two).
    """
    outcomes: dict[int, Outcome] = {}
    sender, commands = _commands(connection, mail, outcomes)
    if not commands:
        return outcomes
    connection.transactions += 1
    exchange = _Exchange(connection, outcomes, commands, chunked=mail.binary)
    try:
        await exchange.run(sender, mail.body)
    except (HostTrouble, OSError, EOFError, ReplyError) as error:
        connection.abort()
        for number in commands:
            outcomes.setdefault(number, exchange.broken_off(error))
    except BaseException:
        connection.abort()
        raise
    if "DSN" not in connection.extensions:
        for number, outcome in outcomes.items():
            if isinstance(outcome, Delivered) and "SUCCESS" in mail.recipients[number].options.get("NOTIFY", ""):
                outcomes[number] = replace(outcome, relayed=True)
    return outcomes


class _Exchange:
    """The talk of one transaction; `outcomes` fills as recipients are decided."""

    def __init__(
        self, connection: Connection, outcomes: dict[int, Outcome], commands: Mapping[int, bytes], *, chunked: bool
    ) -> None:
        self._connection = connection
        self._outcomes = outcomes
        self._commands = commands
        self._chunked = chunked
        self._ended = False  # the end of data is on its way
        self._doing = "in reply to MAIL"

    async def run(self, sender: bytes, body: Body) -> None:
        connection = self._connection
        if connection.unfinished:
            answer = await connection.command(b"RSET", connection.timeouts.mail)
            if answer.code // 100 != 2:
                text = f"RSET refused: {answer.text}"
                raise HostTrouble(Deferred("4.5.0", text, connection.host, Scope.HOST))
            connection.unfinished = False
        if "PIPELINING" in connection.extensions:
            accepted, go = await self._pipelined(sender)
        else:
            accepted, go = await self._in_turn(sender)
        if self._chunked and accepted:
            await self._chunks(body, accepted)
            return
        if go is None:
            return
        if go.code != 354:
            connection.unfinished = True
            self._settle(accepted, _not_accepted(judge(go, connection.host)))
            return
        if not accepted:
            # The server wants content for nobody (RFC 2920 3.1): give it none.
            connection.write(END_OF_DATA, replies=1)
            await connection.reply(connection.timeouts.end)
            return
        await self._content(body, accepted)

    async def _pipelined(self, sender: bytes) -> tuple[list[int], Reply | None]:
        """MAIL, all RCPTs and, unless BDAT follows, DATA in one write (RFC 2920)."""
        connection = self._connection
        commands = (sender, *self._commands.values(), *(() if self._chunked else (b"DATA\r\n",)))
        connection.write(b"".join(commands), replies=len(commands))
        await connection.drained()
        first = await connection.reply(connection.timeouts.mail)
        accepted: list[int] = []
        for number in self._commands:
            self._doing = "in reply to RCPT"
            answer = await connection.reply(connection.timeouts.rcpt)
            if first.code // 100 == 2 and self._recipient(number, answer, bool(accepted)):
                accepted.append(number)
        go = None
        if not self._chunked:
            self._doing = "in reply to DATA"
            go = await connection.reply(connection.timeouts.data)
        if first.code // 100 != 2:
            self._settle(self._commands, judge(first, connection.host))
        if go is None or (not accepted and go.code != 354):
            connection.unfinished = first.code // 100 == 2
            return accepted, None
        return accepted, go

    async def _in_turn(self, sender: bytes) -> tuple[list[int], Reply | None]:
        connection = self._connection
        connection.write(sender, replies=1)
        first = await connection.reply(connection.timeouts.mail)
        if first.code // 100 != 2:
            self._settle(self._commands, _not_accepted(judge(first, connection.host)))
            return [], None
        connection.unfinished = True
        accepted: list[int] = []
        for number, command in self._commands.items():
            self._doing = "in reply to RCPT"
            connection.write(command, replies=1)
            if self._recipient(number, await connection.reply(connection.timeouts.rcpt), bool(accepted)):
                accepted.append(number)
        if not accepted or self._chunked:
            return accepted, None
        self._doing = "in reply to DATA"
        go = await connection.command(b"DATA", connection.timeouts.data)
        connection.unfinished = False
        return accepted, go

    def _recipient(self, number: int, answer: Reply, others: bool) -> bool:
        """Note the reply to one RCPT; whether it was accepted. others: some recipient before it was."""
        verdict = judge(answer, self._connection.host, about_recipient=True)
        if isinstance(verdict, Delivered):
            return True
        too_many = (answer.enhanced or "")[1:] == ".5.3" or (answer.code in (452, 552) and answer.enhanced is None)
        if others and too_many:  # RFC 5321 4.5.3.1.10, which has 552, an older spelling, count as temporary
            verdict = Deferred("4.5.3", answer.text, self._connection.host, again=True)
        self._outcomes[number] = verdict
        return False

    async def _content(self, body: Body, accepted: list[int]) -> None:
        connection = self._connection
        self._doing = "while sending the message"
        blocks = stuffed_blocks(body)
        held = b""
        while not connection.interrupted:
            try:
                block = await anext(blocks, None)
            except OSError as error:
                raise ContentError(str(error)) from error
            if block is None:
                break
            if held:
                connection.write(held)
                await connection.drained()
            held = block
        if connection.interrupted:
            # It spoke before the end: a refusal counts, but the connection is in the middle of the content.
            answer = await connection.reply(connection.timeouts.end)
            connection.abort()
            self._settle(accepted, _not_accepted(judge(answer, connection.host)))
            return
        self._ended = True
        connection.write(held + END_OF_DATA, replies=1)
        await connection.drained()
        self._doing = "in reply to the end of the message"
        self._settle(accepted, judge(await connection.reply(connection.timeouts.end), connection.host))

    async def _chunks(self, body: Body, accepted: list[int]) -> None:
        """Send the content by BDAT (RFC 3030 2), each chunk once the one before it was taken."""
        connection = self._connection
        self._doing = "while sending the message"
        blocks = plain_blocks(body)
        left = body.size
        while True:
            try:
                block = await anext(blocks, b"")
            except OSError as error:
                raise ContentError(str(error)) from error
            left -= len(block)
            self._ended = left <= 0
            connection.write(b"BDAT %d%s\r\n" % (len(block), b" LAST" if self._ended else b"") + block, replies=1)
            await connection.drained()
            answer = await connection.reply(connection.timeouts.end)
            if self._ended:
                break
            if answer.code // 100 != 2:
                self._settle(accepted, _not_accepted(judge(answer, connection.host)))
                return
        connection.unfinished = answer.code // 100 != 2
        self._settle(accepted, judge(answer, connection.host))

    def _settle(self, numbers: Mapping[int, bytes] | list[int], outcome: Outcome) -> None:
        for number in numbers:
            self._outcomes.setdefault(number, outcome)

    def broken_off(self, error: BaseException) -> Deferred:
        """The outcome of the recipients not decided when the connection broke."""
        outcome = judge_error(error, self._connection.host, self._doing)
        if not self._ended or isinstance(error, HostTrouble):
            return outcome
        # Whether the server has the message nobody knows (RFC 1047). Another host at once would make the
        # duplicate certain, hence the scope.
        text = f"{outcome.text}; it may have been delivered, a second copy is possible"
        return Deferred("4.4.2", text, outcome.host, Scope.RECIPIENT)


def _not_accepted(outcome: Outcome) -> Outcome:
    """A success where no success can be (250 to DATA itself) is a server that has lost the thread."""
    if isinstance(outcome, Delivered):
        return Deferred("4.5.0", f"unexpected reply: {outcome.text}", outcome.host, Scope.ELSEWHERE)
    return outcome


def _commands(connection: Connection, mail: Mail, outcomes: dict[int, Outcome]) -> tuple[bytes, dict[int, bytes]]:
    """The MAIL command and the RCPT commands by number, CRLF and all. Recipients that cannot be sent to this
    server get their outcome instead."""
    extensions, host = connection.extensions, connection.host
    envelope = mail.envelope
    utf8 = "SMTPUTF8" in extensions
    limit = extensions.get("SIZE", "").partition(" ")[0]
    if limit.isascii() and limit.isdigit() and 0 < int(limit[:18]) < mail.body.size:
        text = f"the message has {mail.body.size} bytes, the server takes {int(limit[:18])}"
        outcomes.update(dict.fromkeys(mail.recipients, Failed("5.3.4", text, host)))
        return b"", {}
    # A bounce goes on all the same (RFC 8689 5): lost news would serve nobody.
    if "REQUIRETLS" in envelope.options and envelope.reverse_path:
        missing = "" if "REQUIRETLS" in extensions else "the server does not offer REQUIRETLS"
        if not connection.verified:
            missing = "the server was not reached over TLS with a name and certificate that can be verified"
        if missing:
            text = f"the sender asked for TLS on the whole way (REQUIRETLS, RFC 8689), but {missing}"
            outcomes.update(dict.fromkeys(mail.recipients, Failed("5.7.30", text, host, elsewhere=True)))
            return b"", {}
    sender = _wire(envelope.reverse_path, utf8)
    if isinstance(sender, Failed) or (mail.utf8_header and not utf8):
        failed = sender if isinstance(sender, Failed) else _no_utf8("the message's header")
        status = "5.1.7" if failed.status == "5.1.3" else failed.status
        outcomes.update(dict.fromkeys(mail.recipients, Failed(status, failed.text, host)))
        return b"", {}
    if mail.binary and not {"CHUNKING", "BINARYMIME"} <= extensions.keys():
        text = "the message has binary content (BODY=BINARYMIME, RFC 3030), which the server does not take"
        outcomes.update(dict.fromkeys(mail.recipients, Failed("5.6.3", text, host)))
        return b"", {}
    commands = {}
    for number, recipient in mail.recipients.items():
        address = _wire(recipient.address, utf8)
        if isinstance(address, Failed):
            outcomes[number] = Failed(address.status, address.text, host)
            continue
        line = f"RCPT TO:<{address}>{_recipient_parameters(recipient, extensions)}\r\n"
        commands[number] = line.encode()
    parameters = _mail_parameters(mail, extensions, commands, sender)
    return f"MAIL FROM:<{sender}>{parameters}\r\n".encode(), commands


def _wire(address: str, utf8: bool) -> str | Failed:
    """The address as it goes into a command: no octet in it can end the command or begin another."""
    quoted = _QUOTED.match(address)
    if _UNSAFE.search(address, quoted.end() if quoted else 0):
        return Failed("5.1.3", "the address holds characters that no address can hold")
    if address.isascii() or utf8:
        return address
    try:
        plain = ascii_address(address)
    except ValueError:
        plain = None
    return plain if plain is not None else _no_utf8("the address")


def _no_utf8(what: str) -> Failed:
    return Failed("5.6.7", f"{what} needs SMTPUTF8 (RFC 6531), which the server does not offer")


def _mail_parameters(mail: Mail, extensions: Mapping[str, str], commands: Mapping[int, bytes], sender: str) -> str:
    options = mail.envelope.options
    words = []
    if "SIZE" in extensions:
        words.append(f" SIZE={mail.body.size}")
    if mail.binary:
        words.append(" BODY=BINARYMIME")
    elif "8BITMIME" in extensions and options.get("BODY", "").upper() in ("8BITMIME", "BINARYMIME"):
        words.append(" BODY=8BITMIME")
    needs_utf8 = mail.utf8_header or not sender.isascii() or not all(line.isascii() for line in commands.values())
    if "SMTPUTF8" in extensions and needs_utf8:
        words.append(" SMTPUTF8")
    if "REQUIRETLS" in extensions and "REQUIRETLS" in options:
        words.append(" REQUIRETLS")
    if "MT-PRIORITY" in extensions and _passable(options, "MT-PRIORITY"):
        words.append(f" MT-PRIORITY={options['MT-PRIORITY']}")
    if "DSN" in extensions:
        words.extend(f" {name}={options[name]}" for name in ("RET", "ENVID") if _passable(options, name))
    return "".join(words)


def _recipient_parameters(recipient: Recipient, extensions: Mapping[str, str]) -> str:
    if "DSN" not in extensions:
        return ""
    options = recipient.options
    return "".join(f" {name}={options[name]}" for name in ("NOTIFY", "ORCPT") if _passable(options, name))


def _passable(options: Mapping[str, str], name: str) -> bool:
    """Whether the option is there and nothing in it could end the command."""
    return name in options and _PARAMETER.fullmatch(options[name]) is not None
