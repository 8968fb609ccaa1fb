# SPDX-License-Identifier: GPL-3.0-or-later
"""Signing in: AUTH PLAIN (RFC 4616) and AUTH LOGIN (draft-murchison-sasl-login), the way RFC 4954 has them."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable, Callable

__all__ = ["MECHANISMS", "Credentials", "SignInError", "decode", "read_login", "read_plain"]

Ask = Callable[[bytes], Awaitable[bytes]]
Credentials = tuple[str, bytes]


class SignInError(Exception):
    """The dialogue went wrong; the text is the SMTP reply to give."""


def decode(text: bytes) -> bytes:
    """What a client's response is in base64; its cancelling and what is no base64 raise SignInError."""
    if text == b"*":
        raise SignInError("501 5.7.0 Sign-in cancelled")
    if text == b"=":  # an empty initial response, RFC 4954 4
        return b""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise SignInError("501 5.5.2 The response is not base64") from None


def _name(raw: bytes) -> str:
    try:
        name = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise SignInError("501 5.5.2 The user name is not UTF-8") from None
    if not name or "\0" in name:
        raise SignInError("501 5.5.2 The user name is empty or has a NUL in it")
    return name


async def read_plain(initial: bytes | None, ask: Ask) -> Credentials:
    """Name and password of AUTH PLAIN: authorization identity, NUL, name, NUL, password.

    initial: the response sent with the command, base64. ask: sends a challenge, returns the answer's base64.
    Raises SignInError.
    """
    message = decode(await ask(b"") if initial is None else initial)
    parts = message.split(b"\0")
    if len(parts) != 3:
        raise SignInError("501 5.5.2 The response is not what PLAIN has (RFC 4616)")
    authorization, name, password = parts
    if authorization and authorization != name:
        raise SignInError("535 5.7.8 Signing in on behalf of another account is not possible")
    return _name(name), password


async def read_login(initial: bytes | None, ask: Ask) -> Credentials:
    """Name and password of AUTH LOGIN (draft-murchison-sasl-login), asked for one after the other.

    The prompts are the ones that mail programs compare with. Raises SignInError.
    """
    name = _name(decode(await ask(b"Username:") if initial is None else initial))
    return name, decode(await ask(b"Password:"))


MECHANISMS: dict[str, Callable[[bytes | None, Ask], Awaitable[Credentials]]] = {
    "PLAIN": read_plain,
    "LOGIN": read_login,
}
