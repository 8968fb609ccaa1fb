# SPDX-License-Identifier: GPL-3.0-or-later
"""Stored keys for SCRAM-SHA-256 (RFC 5802 3, RFC 7677), in the notation of RFC 5803 and PostgreSQL.

``SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey``, the three values in base64. The relay cannot sign in
anywhere with them; someone who stole the file can try passwords against them, at `ITERATIONS` rounds of
HMAC-SHA-256 each, which is cheaper than argon2.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
import stringprep
import unicodedata
from dataclasses import dataclass

from .hashing import prepare_password

__all__ = [
    "ITERATIONS",
    "MOST_ITERATIONS",
    "ScramKeys",
    "ScramProof",
    "check_scram",
    "decoy_scram",
    "make_scram",
    "parse_scram",
    "prepare_scram_password",
    "scram_proof",
]

# OWASP asks for 600,000 where a server computes them. Here phones do, in scripts at times, at each connection.
ITERATIONS = 100_000
_LEAST, MOST_ITERATIONS = 4096, 10_000_000  # RFC 7677 4 has the lower one
_SHAPE = re.compile(
    r"SCRAM-SHA-256\$(\d{1,8}):([A-Za-z0-9+/]{8,88}={0,2})\$([A-Za-z0-9+/]{43}=):([A-Za-z0-9+/]{43}=)", re.ASCII
)


@dataclass(slots=True, frozen=True, repr=False)
class ScramKeys:
    """What a server keeps of a password."""

    iterations: int
    salt: bytes
    stored_key: bytes
    server_key: bytes


def prepare_scram_password(password: str | bytes) -> bytes:
    """The password as the client's side prepares it: SASLprep (RFC 4013), or as for argon2 where that refuses it."""
    plain = prepare_password(password)
    try:
        text = plain.decode()
    except UnicodeDecodeError:
        return plain
    if text.isascii():
        return plain
    mapped = "".join(
        " " if stringprep.in_table_c12(letter) else letter for letter in text if not stringprep.in_table_b1(letter)
    )
    prepared = unicodedata.normalize("NFKC", mapped)
    return prepared.encode() if prepared and not any(map(_prohibited, prepared)) else plain


def _prohibited(letter: str) -> bool:
    return (
        stringprep.in_table_c21_c22(letter)
        or stringprep.in_table_c3(letter)
        or stringprep.in_table_c4(letter)
        or stringprep.in_table_c5(letter)
        or stringprep.in_table_c6(letter)
        or stringprep.in_table_c7(letter)
        or stringprep.in_table_c8(letter)
        or stringprep.in_table_c9(letter)
    )


def make_scram(password: str | bytes, *, iterations: int = ITERATIONS, salt: bytes | None = None) -> str:
    """Keys for a password, freshly salted. Takes some 30 ms, outside Python's lock."""
    salt = salt or secrets.token_bytes(16)
    client, server = _keys(password, salt, iterations)
    stored = hashlib.sha256(client).digest()
    salt64, stored64, server64 = (base64.b64encode(value).decode() for value in (salt, stored, server))
    return f"SCRAM-SHA-256${iterations}:{salt64}${stored64}:{server64}"


def _keys(password: str | bytes, salt: bytes, iterations: int) -> tuple[bytes, bytes]:
    """ClientKey and ServerKey."""
    salted = hashlib.pbkdf2_hmac("sha256", prepare_scram_password(password), salt, iterations)
    return hmac.digest(salted, b"Client Key", "sha256"), hmac.digest(salted, b"Server Key", "sha256")


@dataclass(slots=True, frozen=True, repr=False)
class ScramProof:
    """What each side shows to the other: ClientProof and ServerSignature."""

    client: bytes
    server: bytes


def scram_proof(password: str | bytes, salt: bytes, iterations: int, said: bytes) -> ScramProof:
    """What a client that has the password shows and expects; said: the AuthMessage (RFC 5802 3)."""
    client, server = _keys(password, salt, iterations)
    signature = hmac.digest(hashlib.sha256(client).digest(), said, "sha256")
    proof = bytes(one ^ other for one, other in zip(client, signature, strict=True))
    return ScramProof(proof, hmac.digest(server, said, "sha256"))


def decoy_scram(name: str, secret: bytes) -> ScramKeys:
    """Keys for a name that has none: always the same salt, as an account has, and no password that fits.

    secret: kept by the relay, the same in all of its processes, or a guesser would see the salt change.
    """
    salt = hmac.digest(secret, name.encode("utf-8", "surrogatepass"), "sha256")[:16]
    return ScramKeys(ITERATIONS, salt, secrets.token_bytes(32), secrets.token_bytes(32))


def parse_scram(text: str) -> ScramKeys:
    """The keys. Raises ValueError for anything else than `make_scram` writes."""
    match = _SHAPE.fullmatch(text)
    if match is None:
        raise ValueError("scram: expected keys such as SCRAM-SHA-256$100000:salt$StoredKey:ServerKey")
    iterations = int(match[1])
    if not _LEAST <= iterations <= MOST_ITERATIONS:
        raise ValueError(f"scram: {iterations} iterations (expected {_LEAST} to {MOST_ITERATIONS})")
    try:
        salt, stored, server = (base64.b64decode(match[number], validate=True) for number in (2, 3, 4))
    except binascii.Error:
        raise ValueError("scram: the keys are not base64") from None
    return ScramKeys(iterations, salt, stored, server)


def check_scram(text: object) -> None:
    """Raise ValueError unless these are keys that `parse_scram` takes."""
    if not isinstance(text, str):
        raise ValueError("scram is not a string")
    parse_scram(text)
