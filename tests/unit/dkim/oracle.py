# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys for the tests, and what dkimpy, another's implementation, says of our signatures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache

import dkim

from relay_agent.dkim.keys import Algorithm, Key, KeyState, make_key
from relay_agent.dkim.record import record_text

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


@cache
def made(algorithm: Algorithm) -> Key:
    """One key of each kind for the whole run: RSA takes a while."""
    return make_key("alpha.test", algorithm.key_type, algorithm, NOW)


def key(
    algorithm: Algorithm = Algorithm.ED25519,
    domain: str = "alpha.test",
    selector: str = "",
    state: KeyState = KeyState.ACTIVE,
) -> Key:
    base = made(algorithm)
    return replace(base, domain=domain, selector=selector or base.selector, state=state)


def both(domain: str = "alpha.test") -> tuple[Key, ...]:
    return tuple(key(algorithm, domain) for algorithm in Algorithm)


def verified(message: bytes, keys: Sequence[Key]) -> list[bool]:
    """Whether each signature of the message, topmost first, verifies; the records are those of `keys`."""
    records = {f"{each.name}.".encode(): record_text(each).encode() for each in keys}

    def look_up(name: bytes, timeout: float = 5) -> bytes:
        return records[name]

    reader = dkim.DKIM(message)
    count = sum(name.lower() == b"dkim-signature" for name, _ in reader.headers)
    return [_verifies(message, index, look_up) for index in range(count)]


def _verifies(message: bytes, index: int, look_up: Callable[..., bytes]) -> bool:
    try:
        return bool(dkim.DKIM(message).verify(index, dnsfunc=look_up))
    except dkim.ValidationError:  # raised when it is the body that does not fit
        return False
