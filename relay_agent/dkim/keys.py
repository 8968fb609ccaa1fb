# SPDX-License-Identifier: GPL-3.0-or-later
"""A signing key: what it is, how it is made, and the file that it lies in.

The file is the key in PEM (PKCS #8), below lines that say where it stands in its life. So a change of state is one
file replaced in one step, and every program that reads PEM reads it, too (RFC 7468 2: text before the key is ignored).
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa

__all__ = ["Algorithm", "Key", "KeyState", "check_selector", "make_key", "parse_key", "render_key"]

_RSA_BITS: Final = 2048
_MOST_RSA_BITS: Final = 4096
_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?", re.ASCII)
_BEGIN = b"-----BEGIN "
_TIME = "%Y-%m-%dT%H:%M:%SZ"
_NOTE = "# A DKIM key, kept by `relay-agent dkim`; secret. The record for DNS: `relay-agent dkim record`."


class Algorithm(StrEnum):
    """What a key signs with; the values are those of the tag a= (RFC 6376 3.3, RFC 8463 3)."""

    RSA = "rsa-sha256"
    ED25519 = "ed25519-sha256"

    @property
    def key_type(self) -> str:
        """As in the tag k= of the record."""
        return self.value.partition("-")[0]


class KeyState(StrEnum):
    """Where a key stands; its record is published in all three."""

    PENDING = "pending"  # made, its record on the way into DNS
    ACTIVE = "active"  # signs
    RETIRED = "retired"  # signs no more; mail that it signed is still on its way


@dataclass(slots=True, frozen=True)
class Key:
    """One key of a domain. domain: in lower-case A-labels. since: when it came into its state.

    given: named in the configuration, so its state is not ours to change.
    """

    domain: str
    selector: str
    state: KeyState
    private: rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey = field(repr=False)
    created: datetime | None = None
    since: datetime | None = None
    given: bool = False

    @property
    def algorithm(self) -> Algorithm:
        return Algorithm.RSA if isinstance(self.private, rsa.RSAPrivateKey) else Algorithm.ED25519

    @property
    def name(self) -> str:
        """Where its record is (RFC 6376 3.6.2.1), without a final dot."""
        return f"{self.selector}._domainkey.{self.domain}"

    def public(self) -> str:
        """The public key as in the tag p=: base64 of SubjectPublicKeyInfo (RSA, RFC 6376 3.6.1) or of the
        32 octets (Ed25519, RFC 8463 4.2)."""
        key = self.private.public_key()
        if isinstance(key, rsa.RSAPublicKey):
            data = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        else:
            data = key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        return base64.b64encode(data).decode("ascii")

    def sign(self, data: bytes) -> bytes:
        """The signature of canonicalised header data: RSASSA-PKCS1-v1_5 over SHA-256, or Ed25519 over the digest
        (RFC 8463 3)."""
        if isinstance(self.private, rsa.RSAPrivateKey):
            return self.private.sign(data, padding.PKCS1v15(), hashes.SHA256())
        digest = hashes.Hash(hashes.SHA256())
        digest.update(data)
        return self.private.sign(digest.finalize())


def check_selector(selector: str) -> str:
    """The selector in lower case. Raises ValueError when it cannot be one (RFC 6376 3.1: labels and dots)."""
    if len(selector) > 120 or not all(_LABEL.fullmatch(label) for label in selector.split(".")):
        raise ValueError(f"{selector!a} is not a selector (expected letters, digits and hyphens, such as 2026a)")
    return selector.lower()


def make_key(domain: str, selector: str, algorithm: Algorithm, now: datetime) -> Key:
    """A new pending key: RSA of 2048 bits (RFC 8301 3.2), or Ed25519."""
    private: rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
    if algorithm is Algorithm.RSA:
        private = rsa.generate_private_key(public_exponent=65537, key_size=_RSA_BITS)
    else:
        private = ed25519.Ed25519PrivateKey.generate()
    now = now.astimezone(UTC).replace(microsecond=0)
    return Key(domain, selector, KeyState.PENDING, private, created=now, since=now)


def parse_key(content: bytes, domain: str, selector: str, *, given: bool = False) -> Key:
    """The key in a file. A file that is only PEM is of an active key, and so is one that is given. Raises ValueError
    in words, never with any of the content."""
    begin = content.find(_BEGIN)
    if begin < 0:
        raise ValueError("holds no key (expected PEM, -----BEGIN PRIVATE KEY-----)")
    lines = content[:begin].decode("ascii", "replace").splitlines()
    said = {
        name.strip().lower(): value.strip() for name, colon, value in (each.partition(":") for each in lines) if colon
    }
    try:
        state = KeyState.ACTIVE if given else KeyState(said.get("state", "active"))
    except ValueError:
        raise ValueError(f"has an unknown state (expected {', '.join(KeyState)})") from None
    private = _private(content[begin:])
    return Key(domain, selector, state, private, _time(said, "created"), _time(said, "since"), given)


def render_key(key: Key) -> bytes:
    """The file's content."""
    lines = [_NOTE, f"State: {key.state}"]
    if key.created is not None:
        lines.append(f"Created: {key.created:{_TIME}}")
    if key.since is not None:
        lines.append(f"Since: {key.since:{_TIME}}")
    pem = key.private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return "\n".join([*lines, ""]).encode() + pem


def _time(said: dict[str, str], name: str) -> datetime | None:
    if name not in said:
        return None
    try:
        return datetime.strptime(said[name], _TIME).replace(tzinfo=UTC)
    except ValueError:
        raise ValueError(f"has no time behind {name.capitalize()}: (expected 2026-01-31T12:00:00Z)") from None


def _private(pem: bytes) -> rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey:
    try:
        # Proving that its primes are primes takes 25 ms for each key; one signature that fits proves as much to us.
        private = serialization.load_pem_private_key(pem, password=None, unsafe_skip_rsa_key_validation=True)
    except TypeError:
        raise ValueError("is protected by a passphrase (expected a key without one, mode 0640)") from None
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("holds a damaged key or one of an unknown kind (expected RSA or Ed25519 in PEM)") from None
    if isinstance(private, ed25519.Ed25519PrivateKey):
        return private
    if not isinstance(private, rsa.RSAPrivateKey):
        raise ValueError("holds a key that DKIM has no use for (expected RSA or Ed25519)")
    if not _RSA_BITS <= private.key_size <= _MOST_RSA_BITS:
        raise ValueError(
            f"holds an RSA key of {private.key_size} bits (expected {_RSA_BITS} to {_MOST_RSA_BITS}; RFC 8301 3.2)"
        )
    try:
        signature = private.sign(b"", padding.PKCS1v15(), hashes.SHA256())
        private.public_key().verify(signature, b"", padding.PKCS1v15(), hashes.SHA256())
    except (InvalidSignature, ValueError):
        raise ValueError("holds a damaged key: its signatures do not fit it") from None
    return private
