# SPDX-License-Identifier: GPL-3.0-or-later
"""Password hashes: argon2id (RFC 9106) with the cost that OWASP names as its first choice.

19 MiB, two passes and one lane take about 16 ms of one core. The hash runs outside the GIL, so two threads
check almost twice as many.
"""

from __future__ import annotations

import re
import unicodedata

import argon2
from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError

__all__ = [
    "DUMMY_HASH",
    "MAX_PASSWORD_BYTES",
    "check_hash",
    "cost_of",
    "dummy_hash",
    "hash_password",
    "prepare_password",
    "verify_password",
]

MAX_PASSWORD_BYTES = 1024
_MAX_MEMORY_KIB = 262_144
_MAX_TIME_COST = 16

_HASHER = argon2.PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1, hash_len=32, salt_len=16)
_SHAPE = re.compile(
    r"\$argon2id\$v=19\$m=\d{1,7},t=\d{1,3},p=\d{1,2}\$[A-Za-z0-9+/]{11,88}\$[A-Za-z0-9+/]{22,88}", re.ASCII
)

# Checked for names that do not exist, so that they take as long as names that do. No password fits it.
DUMMY_HASH = "$argon2id$v=19$m=19456,t=2,p=1$cG9zdHJvYWQtbm9ib2R5$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"


def cost_of(hashed: str) -> str:
    """Memory, passes and lanes of a hash, as they stand in it."""
    return hashed.split("$")[3]


def dummy_hash(cost: str) -> str:
    """`DUMMY_HASH` at another cost, as of `cost_of`."""
    return DUMMY_HASH.replace(cost_of(DUMMY_HASH), cost)


def prepare_password(password: str | bytes) -> bytes:
    """The bytes that are hashed: UTF-8 in composed form, spaces of every kind as U+0020 (RFC 8265 4.2.2).

    Two devices may type the same letter as different code points. Bytes that are not UTF-8 are taken as they
    are: some old mail programs sign in with Latin-1.
    """
    if isinstance(password, str):
        text = password
    else:
        try:
            text = password.decode()
        except UnicodeDecodeError:
            return password
    text = "".join(" " if unicodedata.category(letter) == "Zs" else letter for letter in text)
    return unicodedata.normalize("NFC", text).encode()


def hash_password(password: str | bytes) -> str:
    """A new argon2id hash, salted. Raises ``ValueError`` for a password that cannot be used to sign in."""
    prepared = prepare_password(password)
    if not prepared:
        raise ValueError("the password is empty")
    if b"\0" in prepared:
        raise ValueError("the password contains a NUL byte, which AUTH PLAIN cannot carry (RFC 4616)")
    if len(prepared) > MAX_PASSWORD_BYTES:
        raise ValueError(f"the password is longer than {MAX_PASSWORD_BYTES} bytes")
    return _HASHER.hash(prepared)


def verify_password(hashed: str, password: str | bytes) -> bool:
    """Whether the password fits; False also for a hash that is damaged. Takes about 16 ms: not for the event loop."""
    prepared = prepare_password(password)
    # Cut, not refused at once: a password that is too long must cost the same as any other wrong one.
    too_long = len(prepared) > MAX_PASSWORD_BYTES
    try:
        return _HASHER.verify(hashed, prepared[:MAX_PASSWORD_BYTES]) and not too_long
    except (VerifyMismatchError, VerificationError, InvalidHashError):
        return False


def check_hash(hashed: str) -> None:
    """Raise ``ValueError`` unless this is an argon2id hash whose cost a relay can bear."""
    if not _SHAPE.fullmatch(hashed):
        raise ValueError("expected an argon2id hash such as $argon2id$v=19$m=19456,t=2,p=1$...$...")
    try:
        cost = argon2.extract_parameters(hashed)
    except InvalidHashError:
        raise ValueError("this argon2id hash is damaged") from None
    if cost.memory_cost > _MAX_MEMORY_KIB or cost.time_cost > _MAX_TIME_COST:
        raise ValueError(
            f"this hash costs {cost.memory_cost} KiB and {cost.time_cost} passes for each sign-in "
            f"(at most {_MAX_MEMORY_KIB} KiB and {_MAX_TIME_COST} passes)"
        )
