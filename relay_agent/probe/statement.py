# SPDX-License-Identifier: GPL-3.0-or-later
"""What a relay says of itself, signed with its certificate's key: its name, its ports, and which key that is.

It travels in the reply to the command XRELAY, before TLS, too: a middlebox that strips STARTTLS or puts itself in
between can drop it, but not write one that the relay's key has signed. Three parts in base64url, joined by dots:
JSON, signature, certificate (DER).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

__all__ = ["Statement", "StatementError", "key_of", "make_statement", "read_statement"]

_VALID = 86_400.0  # seconds
_LONGEST = 32_768  # characters of a statement
_MODES = frozenset({"starttls", "implicit", "auto", "none"})
_PSS = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=padding.PSS.DIGEST_LENGTH)

#: What reading raises for what somebody made up: anybody can sign numbers beyond all bounds with a key of their own.
_NONE = (
    ValueError,
    TypeError,
    KeyError,
    OverflowError,
    RecursionError,
    InvalidSignature,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    binascii.Error,
)


class StatementError(Exception):
    """It is no statement, or its signature does not fit."""


@dataclass(frozen=True, slots=True)
class Statement:
    """What was signed. ports: number and TLS mode, in the relay's order. key: of the certificate, see `key_of`.

    at, until: seconds since the epoch. certificate: DER.
    """

    host: str
    ports: tuple[tuple[int, str], ...]
    key: str
    at: float
    until: float
    certificate: bytes


def key_of(certificate: bytes) -> str:
    """SHA-256 over the certificate's public key (SubjectPublicKeyInfo), in hex; the same as in a TLSA record 3 1 1.

    Raises ValueError for what is no certificate (DER).
    """
    spki = (
        x509.load_der_x509_certificate(certificate)
        .public_key()
        .public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    return hashlib.sha256(spki).hexdigest()


def make_statement(host: str, ports: Sequence[tuple[int, str]], chain: bytes, key: bytes, now: float) -> str:
    """A statement for a day. chain, key: PEM; the first certificate counts. Raises ValueError, TypeError."""
    certificate = x509.load_pem_x509_certificates(chain)[0].public_bytes(serialization.Encoding.DER)
    said = {"v": 1, "host": host, "ports": [list(port) for port in ports], "key": key_of(certificate)}
    said |= {"at": int(now), "until": int(now + _VALID)}
    content = json.dumps(said, separators=(",", ":")).encode()
    return ".".join(_encode(part) for part in (content, _sign(key, content), certificate))


def read_statement(text: str, now: float) -> Statement:
    """Check the signature against the certificate that comes along; whether that is the relay's is another question.

    Raises StatementError, also for one that is out of date by more than a day: clocks of laptops are wrong.
    """
    try:
        if len(text) > _LONGEST:
            raise ValueError("too long")
        content, signature, certificate = (_decode(part) for part in text.split("."))
        _verify(certificate, signature, content)
        said = json.loads(content)
        ports = tuple((int(number), str(mode)) for number, mode in said["ports"])
        statement = Statement(
            str(said["host"]), ports, str(said["key"]), float(said["at"]), float(said["until"]), certificate
        )
        if said["v"] != 1 or not all(0 < number < 65536 and mode in _MODES for number, mode in ports):
            raise ValueError("another version")
        if statement.key != key_of(certificate):
            raise ValueError("the key is another")
    except _NONE as error:
        raise StatementError(f"not a statement of a relay: {error}") from error
    if not statement.at - _VALID < now < statement.until + _VALID:
        raise StatementError("the statement is out of date, or this machine's clock is wrong")
    return statement


def _sign(pem: bytes, content: bytes) -> bytes:
    key = serialization.load_pem_private_key(pem, None)
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key.sign(content, ec.ECDSA(hashes.SHA256()))
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(content, _PSS, hashes.SHA256())
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(content)
    raise TypeError(f"no signatures with a key of this kind: {type(key).__name__}")


def _verify(certificate: bytes, signature: bytes, content: bytes) -> None:
    key = x509.load_der_x509_certificate(certificate).public_key()
    if isinstance(key, ec.EllipticCurvePublicKey):
        key.verify(signature, content, ec.ECDSA(hashes.SHA256()))
    elif isinstance(key, rsa.RSAPublicKey):
        key.verify(signature, content, _PSS, hashes.SHA256())
    elif isinstance(key, ed25519.Ed25519PublicKey):
        key.verify(signature, content)
    else:
        raise TypeError("a key of another kind")


def _encode(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).decode("ascii").rstrip("=")


def _decode(part: str) -> bytes:
    return base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
