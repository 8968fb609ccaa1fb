# SPDX-License-Identifier: GPL-3.0-or-later
"""The messages of OAUTHBEARER (RFC 7628 3.1) and of XOAUTH2, its older relative.

XOAUTH2 has no RFC; it is as Google describes it: https://developers.google.com/gmail/imap/xoauth2-protocol
"""

from __future__ import annotations

import json
import re

from relay_agent.submission.sign_in import SignInError

__all__ = ["MECHANISMS", "failure_message", "read_bearer"]

MECHANISMS = ("OAUTHBEARER", "XOAUTH2")
_TOKEN = re.compile(r"[Bb][Ee][Aa][Rr][Ee][Rr] +(?P<token>[A-Za-z0-9._~+/-]+=*)")
_GS2 = re.compile(r"n,(?:a=(?P<name>[^,]*))?,")


def read_bearer(mechanism: str, message: bytes) -> tuple[str, str]:
    """Name ("" when none is given) and token of a decoded response. Raises SignInError."""
    try:
        text = message.decode()
    except UnicodeDecodeError:
        raise SignInError("501 5.5.2 The response is not UTF-8") from None
    head, *pairs = text.split("\x01")
    if len(pairs) < 2 or pairs[-2:] != ["", ""] or "\0" in text:
        raise SignInError(f"501 5.5.2 The response is not what {mechanism} has (RFC 7628 3.1)")
    if mechanism == "XOAUTH2":
        pairs = [head, *pairs]
        name = ""
    else:
        gs2 = _GS2.fullmatch(head)
        if gs2 is None:
            raise SignInError("501 5.5.2 The response does not begin with n,a=user, (RFC 7628 3.1)")
        name = (gs2["name"] or "").replace("=2C", ",").replace("=3D", "=")
    fields: dict[str, str] = {}
    for pair in pairs[:-2]:
        key, equals, value = pair.partition("=")
        if not equals or key in fields:
            raise SignInError(f"501 5.5.2 The response is not what {mechanism} has (RFC 7628 3.1)")
        fields[key] = value
    if mechanism == "XOAUTH2" and not fields.get("user"):
        raise SignInError("501 5.5.2 The response does not begin with user=NAME")
    token = _TOKEN.fullmatch(fields.get("auth", ""))
    if token is None:
        raise SignInError("501 5.5.2 The response has no auth=Bearer TOKEN")
    return (fields.get("user", "") if mechanism == "XOAUTH2" else name), token["token"]


def failure_message(mechanism: str) -> bytes:
    """The challenge that tells a program that its token is not good, before the 535 (RFC 7628 3.2.2)."""
    if mechanism == "XOAUTH2":
        return json.dumps({"status": "401", "schemes": "bearer", "scope": ""}).encode()
    return json.dumps({"status": "invalid_token"}).encode()
