# SPDX-License-Identifier: GPL-3.0-or-later
"""Signing in to an upstream relay (RFC 4954): which mechanism, and the talk of each. Secrets appear in no exception.

EXTERNAL is RFC 4422, SCRAM-SHA-256 RFC 7677, OAUTHBEARER RFC 7628, PLAIN RFC 4616. Without an RFC are LOGIN
(draft-murchison-sasl-login) and XOAUTH2 (https://developers.google.com/gmail/imap/xoauth2-protocol).
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Sequence

from relay_agent.delivery.client import Connection
from relay_agent.delivery.reply import Reply, printable
from relay_agent.delivery.sign_in.credentials import Credentials, first_line, sign_in_trouble
from relay_agent.delivery.sign_in.scram import ScramClient, ScramRefusedError
from relay_agent.delivery.sign_in.tokens import TokenKeeper
from relay_agent.observability import measured

__all__ = ["choose", "sign_in"]

_BY_PASSWORD = ("SCRAM-SHA-256", "PLAIN", "LOGIN")
_BY_TOKEN = ("OAUTHBEARER", "XOAUTH2")
_LONGEST_LINE = 510  # octets of a command before its CRLF (RFC 5321 4.5.3.1.4); what is longer goes behind a 334
_REFUSED = (535, 538, 454)


def choose(credentials: Credentials, offered: Sequence[str]) -> str | None:
    """The strongest mechanism that both sides have, or the one that is forced; None if there is none."""
    usable: list[str] = []
    if credentials.certificate is not None:
        usable.append("EXTERNAL")
    if credentials.password_file is not None:
        usable += _BY_PASSWORD
    if credentials.tokens is not None:
        usable += _BY_TOKEN
    if credentials.mechanism is not None:
        usable = [credentials.mechanism]
    return next((mechanism for mechanism in usable if mechanism in offered), None)


async def sign_in(connection: Connection, credentials: Credentials, tokens: TokenKeeper) -> None:
    """Sign in. Raises HostTrouble when it is refused or cannot be done, and what `Connection` raises.

    Only inside TLS. With a certificate alone, a server that offers no EXTERNAL has seen it in the handshake: that is
    enough, unless the configuration asks for EXTERNAL.
    """
    if not connection.encrypted:
        raise sign_in_trouble("no sign-in without TLS", status="4.7.0", host=connection.host)
    offered = connection.extensions.get("AUTH", "").upper().split()
    mechanism = choose(credentials, offered)
    if mechanism is None:
        if credentials.mechanism is None and credentials.password_file is None and credentials.tokens is None:
            return
        wanted = credentials.mechanism or ", ".join(_BY_TOKEN if credentials.tokens is not None else _BY_PASSWORD)
        shown = printable(" ".join(offered), 100) or "none"
        text = f"the server offers no sign-in that can be used here ({wanted}), but: {shown}"
        raise sign_in_trouble(text, status="4.7.0", host=connection.host)
    try:
        await _run(connection, mechanism, credentials, tokens)
    except BaseException:
        measured.UPSTREAM_SIGN_INS[mechanism, "failed"] += 1
        raise
    measured.UPSTREAM_SIGN_INS[mechanism, "succeeded"] += 1


async def _run(connection: Connection, mechanism: str, credentials: Credentials, tokens: TokenKeeper) -> None:
    user = credentials.username or ""
    if mechanism in _BY_TOKEN:
        await _bearer(connection, mechanism, credentials, tokens)
        return
    if mechanism == "EXTERNAL":
        # Who we are is in the certificate; an empty answer (RFC 4422 A) says so.
        answer = await _begin(connection, mechanism, user.encode())
    else:
        assert credentials.password_file is not None
        password = await first_line(credentials.password_file, "password")
        if mechanism == "SCRAM-SHA-256":
            answer = await _scram(connection, user, password)
        elif mechanism == "PLAIN":
            answer = await _begin(connection, mechanism, b"\0" + user.encode() + b"\0" + password.encode())
        else:
            answer = await _command(connection, b"AUTH LOGIN")
            for each in (user, password):
                if answer.code == 334:
                    answer = await _command(connection, base64.b64encode(each.encode()))
    if answer.code != 235:
        raise await _refused(connection, answer)


async def _scram(connection: Connection, user: str, password: str) -> Reply:
    dialogue = ScramClient(user)
    try:
        answer = await _begin(connection, "SCRAM-SHA-256", dialogue.first())
        if answer.code != 334:
            return answer
        # Thousands of rounds of HMAC, as many as the server says.
        final = await asyncio.to_thread(dialogue.answer, _decoded(answer), password)
        answer = await _command(connection, base64.b64encode(final))
        if answer.code == 334:
            dialogue.check(_decoded(answer))
            return await _command(connection, b"")
        if answer.code == 235:  # some put the server's final message there (RFC 4954 4)
            dialogue.check(_decoded(answer))
    except ScramRefusedError as error:
        connection.abort()
        text = f"sign-in broken off, the server does not keep to SCRAM-SHA-256: {error}"
        raise sign_in_trouble(text, status="4.7.8", host=connection.host) from None
    return answer


async def _bearer(connection: Connection, mechanism: str, credentials: Credentials, tokens: TokenKeeper) -> None:
    """With an access token; one that was kept and is refused is fetched anew once."""
    assert credentials.tokens is not None
    token, fresh = await tokens.token(credentials.tokens)
    while True:
        answer = await _begin(connection, mechanism, _shown(connection, mechanism, credentials.username or "", token))
        if answer.code == 334:  # what is wrong, as JSON; an answer is due before the server refuses (RFC 7628 3.2.3)
            answer = await _command(connection, base64.b64encode(b"\x01") if mechanism == "OAUTHBEARER" else b"")
        if answer.code == 235:
            return
        if fresh or answer.code not in _REFUSED:
            raise await _refused(connection, answer)
        token, _ = await tokens.token(credentials.tokens, instead_of=token)
        fresh = True  # or another sign-in has fetched it meanwhile: once is enough either way


def _shown(connection: Connection, mechanism: str, user: str, token: str) -> bytes:
    if mechanism == "XOAUTH2":
        return f"user={user}\x01auth=Bearer {token}\x01\x01".encode()
    name = user.replace("=", "=3D").replace(",", "=2C")
    return f"n,a={name},\x01host={connection.host}\x01auth=Bearer {token}\x01\x01".encode()


async def _begin(connection: Connection, mechanism: str, initial: bytes) -> Reply:
    """AUTH with an initial response, which goes into a line of its own where it is too long for the command."""
    command = f"AUTH {mechanism} ".encode()
    response = base64.b64encode(initial) or b"="
    if len(command) + len(response) <= _LONGEST_LINE:
        return await _command(connection, command + response)
    answer = await _command(connection, command.strip())
    return await _command(connection, response) if answer.code == 334 else answer


async def _command(connection: Connection, line: bytes) -> Reply:
    return await connection.command(line, connection.timeouts.auth)


def _decoded(answer: Reply) -> bytes:
    text = answer.lines[0]
    if answer.code == 235:
        text = text.rpartition(" ")[2]
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""


async def _refused(connection: Connection, answer: Reply) -> Exception:
    """The trouble that a refusal stands for; a dialogue that the server wants to go on with is broken off first."""
    if answer.code == 334:
        answer = await _command(connection, b"*")
    status = "4.7.8"
    if answer.enhanced is not None and answer.code // 100 in (4, 5):
        status = f"4{answer.enhanced[1:]}"
    return sign_in_trouble(f"sign-in refused: {answer.text}", status=status, host=connection.host)
