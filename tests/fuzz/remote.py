# SPDX-License-Identifier: GPL-3.0-or-later
"""What comes from the other side of a delivery, and tokens that somebody else has signed."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import ssl
from base64 import urlsafe_b64decode
from pathlib import Path
from tempfile import NamedTemporaryFile
from types import SimpleNamespace
from typing import cast

from jwt import PyJWK

from relay_agent.config.schema import OAuth
from relay_agent.delivery.client import Connection
from relay_agent.delivery.outcome import Delivered, HostTrouble
from relay_agent.delivery.reply import ReplyError, ReplyReader, printable
from relay_agent.delivery.resolve import Resolver
from relay_agent.delivery.sign_in.credentials import Credentials, TokenSource
from relay_agent.delivery.sign_in.dialogue import sign_in
from relay_agent.delivery.sign_in.scram import ScramClient, ScramRefusedError
from relay_agent.delivery.sign_in.tokens import TokenKeeper, read_answer
from relay_agent.delivery.tls.https import Answer
from relay_agent.delivery.transaction import Mail, send
from relay_agent.oauth.keys import KeySource
from relay_agent.oauth.tokens import TokenChecker, TokenError
from relay_agent.queue.body import MemoryBody
from relay_agent.queue.model import Envelope, Recipient

from .event_loop import FuzzLoop, Wire
from .promises import in_words

__all__ = ["challenge", "replies", "server", "token", "token_answer"]

_BODY = b"Subject: x\r\n\r\n.dot\r\nDATA\r\n"
_MAIL = Mail(
    Envelope("alice@alpha.test", "alice", {"ENVID": "x+3Dy", "RET": "HDRS"}),
    {
        0: Recipient("bob@beta.test", {"NOTIFY": "SUCCESS,FAILURE", "ORCPT": "rfc822;bob@beta.test"}),
        7: Recipient("b\xfccher@beta.test"),
    },
    MemoryBody(_BODY),
)
_BINARY = Mail(Envelope("alice@alpha.test", "alice", {"BODY": "BINARYMIME"}), {0: Recipient("bob@beta.test")},
               MemoryBody(b"Subject: x\r\n\r\n\0\r"), binary=True)  # fmt: skip
_COMMAND = re.compile(
    rb"EHLO relay\.test|HELO relay\.test|RSET|QUIT|DATA|AUTH PLAIN AHUAcA==|AUTH LOGIN|dQ==|cA==|"
    rb"AUTH SCRAM-SHA-256 [A-Za-z0-9+/=]+|Yz1[A-Za-z0-9+/=]+||\*|"
    rb"MAIL FROM:<alice@alpha\.test>(?: [!-~]+)*|RCPT TO:<(?:bob|b\xc3\xbccher)@beta\.test>(?: [!-~]+)*"
)
_SECRET = b"a key of thirty-two bytes or more"
_OAUTH = OAuth.model_validate(
    {"issuer": "https://id.test", "audience": ["relay"], "jwks_url": "https://id.test/keys"}
).model_copy(update={"algorithms": ("HS256",)})


def replies(data: bytes) -> None:
    """Replies cut out of a stream: the same however it comes, bounded, and printable."""
    found: list[list[object]] = []
    for pieces in ((data,), tuple(data[at : at + 1] for at in range(len(data)))):
        reader = ReplyReader()
        seen: list[object] = []
        try:
            for piece in pieces:
                for reply in reader.feed(piece):
                    assert 200 <= reply.code <= 599
                    assert reply.text.isprintable()
                    assert len(reply.text) <= 1000
                    assert re.fullmatch(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}", reply.enhanced or "2.0.0")
                    if len(pieces) > 1:
                        seen.append(reply)
                    else:
                        found.append([reply])
                assert len(reader._buffer) <= ReplyReader.MAX_LINE
        except ReplyError as error:
            in_words(error)
            # What was whole before the fault came one by one; together with it, the call raised instead.
            continue
        if len(pieces) > 1:
            assert [[reply] for reply in seen] == found
    assert printable(data.decode("utf-8", "replace"), 100).isprintable()


def server(data: bytes) -> None:
    """A server that says this, NUL between one reply and the next: a sign-in, two mails, a binary one, the end."""
    for tls in (False, True):
        _conversation(data.split(b"\0"), tls=tls)


async def _sign_in(connection: Connection) -> None:
    with NamedTemporaryFile("w") as file:
        file.write("p\n")
        file.flush()
        # A password needs no token, and so no resolver.
        await sign_in(connection, Credentials("u", Path(file.name)), TokenKeeper(cast(Resolver, None)))


def _conversation(says: list[bytes], *, tls: bool) -> None:
    loop = FuzzLoop()
    context = SimpleNamespace(verify_mode=ssl.CERT_REQUIRED, check_hostname=True)
    wire = Wire(SimpleNamespace(context=context) if tls else None)

    async def talk() -> None:
        connection = Connection("mx.test", "relay.test")
        connection.connection_made(wire)

        def lost() -> None:
            wire.close()
            connection.connection_lost(None)

        def say(text: bytes) -> None:
            if not wire.closed:
                connection.data_received(text)

        for second, text in enumerate(says):
            loop.call_later(second + 1, say, text)
        loop.call_later(len(says) + 1, lost)
        try:
            await connection.greet()
            if tls:
                await _sign_in(connection)
        except (HostTrouble, TimeoutError, EOFError, OSError, ReplyError) as error:
            in_words(str(error) or type(error).__name__)
            return
        for mail in (_MAIL, _MAIL, _BINARY):
            if not connection.usable:
                break
            before = len(wire.written)
            outcomes = await send(connection, mail)
            assert outcomes.keys() == mail.recipients.keys(), "a recipient without an outcome"
            for outcome in outcomes.values():
                assert outcome.text.isprintable()
                assert len(outcome.text) <= 1200
                assert re.fullmatch(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}", outcome.status), outcome.status
                if isinstance(outcome, Delivered):
                    assert wire.written[before:].endswith((b"\r\n.\r\n", b" LAST\r\n" + mail.body.read()))
        connection.quit()

    try:
        loop.run(talk())
    finally:
        loop.close()
    _check_commands(bytes(wire.written))


def _check_commands(written: bytes) -> None:
    content = b"Subject: x\r\n\r\n..dot\r\nDATA\r\n.\r\n"
    written = written.replace(b"DATA\r\n" + content, b"DATA\r\n").replace(content, b"")
    written = re.sub(rb"BDAT 16 LAST\r\nSubject: x\r\n\r\n\0\r", b"RSET\r\n", written).replace(b"DATA\r\n.\r\n", b"")
    for line in written.split(b"\r\n")[:-1]:
        assert _COMMAND.fullmatch(line) or line == b".", line


def token_answer(data: bytes) -> None:
    """What a token endpoint answers, its HTTP status on the first line: a token and a time, or a reason in words."""
    status, _, content = data.partition(b"\n")
    number = int(status) if status.isdigit() and len(status) == 3 else 200
    try:
        found, lifetime = read_answer(TokenSource(url="https://id.test/token"), Answer(number, "", content))
    except HostTrouble as error:
        in_words(error)
        return
    assert re.fullmatch(r"[A-Za-z0-9._~+/=-]+", found)
    assert lifetime > 0


def challenge(data: bytes) -> None:
    """What a server says in SCRAM, NUL between its two messages: only one that knows the password is believed."""
    first, _, final = data.partition(b"\0")
    client = ScramClient("u", "rOprNGfwEbeRWgbNEkqO")
    try:
        # Rounds are the server's choice; hundreds of thousands would only keep the fuzzer busy.
        client.answer(re.sub(rb"i=\d{5,}", b"i=4096", first), "pencil")
        client.check(final)
    except ScramRefusedError as error:
        in_words(error)


class _Keys(KeySource):
    """One key, and nothing is fetched."""

    async def find(self, key_id: str | None) -> PyJWK | None:
        key = {"kty": "oct", "k": "YSBrZXkgb2YgdGhpcnR5LXR3byBieXRlcyBvciBtb3Jl", "alg": "HS256"}
        return PyJWK(key) if key_id in (None, "1") else None


def token(data: bytes) -> None:
    """An access token: a name comes out of it only when its signature is the key's."""
    text = data.decode("latin-1")
    loop = FuzzLoop()
    try:
        name = loop.run(TokenChecker(_OAUTH, _Keys(_OAUTH)).check(text))
    except TokenError as error:
        in_words(ascii(error))  # the library's words go to the log only
        return
    finally:
        loop.close()
    said, _, signature = text.rpartition(".")
    expected = hmac.digest(_SECRET, said.encode(), hashlib.sha256)
    assert urlsafe_b64decode(signature + "=" * (-len(signature) % 4)) == expected
    claims = json.loads(urlsafe_b64decode(said.partition(".")[2] + "=="))
    assert claims[_OAUTH.account_claim] == name
    assert cast(str, name)
