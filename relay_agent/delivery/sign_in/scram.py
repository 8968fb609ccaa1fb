# SPDX-License-Identifier: GPL-3.0-or-later
"""The client's side of SCRAM-SHA-256 (RFC 5802, RFC 7677), without I/O; the server's is in ``submission.scram``.

Channel binding is not asked for: over TLS 1.3 it would need the exporter (RFC 9266), which Python's ssl module does
not give out. TLS is verified before, so nobody sits in between.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
import secrets

from relay_agent.accounts.scram import MOST_ITERATIONS, ScramProof, scram_proof

__all__ = ["ScramClient", "ScramRefusedError"]

_CHALLENGE = re.compile(
    r"r=(?P<nonce>[\x21-\x2b\x2d-\x7e]{1,1024}),s=(?P<salt>[A-Za-z0-9+/=]{1,1024}),i=(?P<iterations>[1-9]\d{0,8})(?:,.*)?",
    re.DOTALL | re.ASCII,
)
_LEAST_ITERATIONS = 4096  # RFC 7677 4
_NONCE = 18  # bytes


class ScramRefusedError(Exception):
    """The server said what it may not, or could not prove that it knows the password; the text says which."""


class ScramClient:
    """One sign-in: `first`, `answer` (some milliseconds: in a thread), `check`. nonce: for tests."""

    def __init__(self, username: str, nonce: str | None = None) -> None:
        self._nonce = nonce or base64.b64encode(secrets.token_bytes(_NONCE)).decode()
        name = username.replace("=", "=3D").replace(",", "=2C")
        self._bare = f"n={name},r={self._nonce}"
        self._proof: ScramProof | None = None

    def first(self) -> bytes:
        """The message to begin with."""
        return f"n,,{self._bare}".encode()

    def answer(self, challenge: bytes, password: str) -> bytes:
        """The answer to the server's first message. Raises ScramRefusedError."""
        try:
            text = challenge.decode()
            match = _CHALLENGE.fullmatch(text)
            salt = base64.b64decode(match["salt"], validate=True) if match is not None else b""
        except (UnicodeDecodeError, binascii.Error):
            match, text, salt = None, "", b""
        if match is None:
            raise ScramRefusedError("its challenge is not what SCRAM has (RFC 5802 7)")
        nonce, iterations = match["nonce"], int(match["iterations"])
        if not nonce.startswith(self._nonce) or nonce == self._nonce:
            raise ScramRefusedError("its challenge is not for our question")
        if not _LEAST_ITERATIONS <= iterations <= MOST_ITERATIONS:
            raise ScramRefusedError(
                f"it asks for {iterations} iterations (expected {_LEAST_ITERATIONS} to {MOST_ITERATIONS})"
            )
        without = f"c=biws,r={nonce}"
        said = f"{self._bare},{text},{without}".encode()
        self._proof = scram_proof(password, salt, iterations, said)
        return f"{without},p={base64.b64encode(self._proof.client).decode()}".encode()

    def check(self, message: bytes) -> None:
        """Take the server's final message. Raises ScramRefusedError unless it proves the server's knowledge."""
        if message.startswith(b"e="):
            raise ScramRefusedError("it does not take the password")
        try:
            shown = base64.b64decode(message[2:].partition(b",")[0], validate=True) if message[:2] == b"v=" else b""
        except binascii.Error:
            shown = b""
        if self._proof is None or not hmac.compare_digest(shown, self._proof.server):
            raise ScramRefusedError("it has not shown that it knows the password")
