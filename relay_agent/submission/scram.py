# SPDX-License-Identifier: GPL-3.0-or-later
"""The server's side of SCRAM-SHA-256 (RFC 5802, RFC 7677), without I/O.

Channel binding is not offered: over TLS 1.3 it would need the exporter (RFC 9266), which Python's ssl module
does not give out.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets

from relay_agent.accounts.scram import ScramKeys

__all__ = ["ScramDialogue", "ScramError"]

_FIRST = re.compile(r"(?P<gs2>(?P<binding>n|y|p=[A-Za-z0-9.-]+),(?:a=(?P<authzid>[^,]*))?,)(?P<bare>.*)", re.DOTALL)
_BARE = re.compile(r"n=(?P<name>[^,]*),r=(?P<nonce>[\x21-\x2b\x2d-\x7e]{1,512})(?:,.*)?", re.DOTALL)
_FINAL = re.compile(
    r"(?P<without>c=(?P<gs2>[A-Za-z0-9+/=]+),r=(?P<nonce>[\x21-\x2b\x2d-\x7e]+)(?:,[A-Za-z]=[^,]*)*),p=(?P<proof>[A-Za-z0-9+/=]+)"
)
_NONCE = 18  # bytes of ours


class ScramError(ValueError):
    """A message that is not what RFC 5802 7 has; the text is for people."""


class ScramDialogue:
    """One sign-in: `begin`, `challenge`, `finish`, in this order. nonce: for tests."""

    def __init__(self, nonce: str | None = None) -> None:
        self._nonce = nonce or base64.b64encode(secrets.token_bytes(_NONCE)).decode()
        self._gs2 = b""
        self._bare = ""
        self._server_first = ""
        self._keys: ScramKeys | None = None

    def begin(self, message: bytes) -> str:
        """Take the client's first message; returns the name that it gives. Raises ScramError."""
        match = _FIRST.fullmatch(_text(message))
        if match is None:
            raise ScramError("the first message is not what SCRAM has (RFC 5802 7)")
        if match["binding"].startswith("p="):
            raise ScramError("channel binding is not offered here")
        bare = _BARE.fullmatch(match["bare"])
        if bare is None:  # an extension that must be understood (m=) is one of the reasons
            raise ScramError("the first message is not what SCRAM has (RFC 5802 7)")
        name = _saslname(bare["name"])
        if match["authzid"] and _saslname(match["authzid"]) != name:
            raise ScramError("signing in on behalf of another account is not possible")
        self._gs2 = match["gs2"].encode()
        self._bare = match["bare"]
        self._nonce = bare["nonce"] + self._nonce
        return name

    def challenge(self, keys: ScramKeys) -> bytes:
        """The server's first message, for the keys of the name."""
        self._keys = keys
        self._server_first = f"r={self._nonce},s={base64.b64encode(keys.salt).decode()},i={keys.iterations}"
        return self._server_first.encode()

    def finish(self, message: bytes) -> bytes | None:
        """Take the client's final message; returns the server's, or None when the password was another.

        Raises ScramError.
        """
        assert self._keys is not None
        match = _FINAL.fullmatch(_text(message))
        if match is None:
            raise ScramError("the final message is not what SCRAM has (RFC 5802 7)")
        if not hmac.compare_digest(_base64(match["gs2"]), self._gs2):
            raise ScramError("the final message contradicts the first one")
        if not hmac.compare_digest(match["nonce"], self._nonce):
            raise ScramError("the final message answers another challenge")
        proof = _base64(match["proof"])
        said = f"{self._bare},{self._server_first},{match['without']}".encode()
        signature = hmac.digest(self._keys.stored_key, said, "sha256")
        if len(proof) != len(signature):
            raise ScramError("the proof has the wrong length")
        client_key = bytes(one ^ other for one, other in zip(proof, signature, strict=True))
        if not hmac.compare_digest(hashlib.sha256(client_key).digest(), self._keys.stored_key):
            return None
        return b"v=" + base64.b64encode(hmac.digest(self._keys.server_key, said, "sha256"))


def _text(message: bytes) -> str:
    try:
        text = message.decode()
    except UnicodeDecodeError:
        raise ScramError("a message is not UTF-8") from None
    if "\0" in text:
        raise ScramError("a message has a NUL in it")
    return text


def _saslname(text: str) -> str:
    name = text.replace("=2C", ",").replace("=3D", "=")
    if not text or re.search("=(?!2C|3D)", text):
        raise ScramError("the name is empty, or has an equals sign that is not written =3D")
    return name


def _base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise ScramError("a value is not base64") from None
