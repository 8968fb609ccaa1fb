# SPDX-License-Identifier: GPL-3.0-or-later
"""How the renewals went: renewal.json beside the certificate, written by root and read by the agent.

Only the standard library is needed to read it, as the supervisor does.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from relay_agent.whole_file import locked_directory, replace_file

__all__ = ["NAME", "Renewals", "note_proof", "read_renewals", "write_renewals"]

NAME = "renewal.json"
_LOCKED_WITHIN = 10.0  # seconds; a renewal under way looks at the ports itself, and notes what it saw
_TEXTS = {"problem", "issued", "authority", "next_key", "unproved", "order"}


@dataclass(frozen=True, slots=True)
class Renewals:
    """Times in seconds since the epoch; 0 for never.

    looked: the last look at the certificate. renewed: the last new one. failing: since when a new one cannot be had,
    and problem says why. issued: fingerprint of the certificate that was put in use last, and authority: where it is
    from. unproved: why no port has shown it yet; "" when all have. asked: when the authority issued last, order: what
    (see `issued`), and unused: how many since one of them was put in use.
    next_key: digest of the key that comes next; seen: since when every name server has its record; ttl: seconds that
    the record, or its absence, may be remembered elsewhere.
    """

    looked: float = 0.0
    renewed: float = 0.0
    failing: float = 0.0
    problem: str = ""
    issued: str = ""
    authority: str = ""
    next_key: str = ""
    seen: float = 0.0
    ttl: int = 0
    unproved: str = ""
    asked: float = 0.0
    order: str = ""
    unused: int = 0

    def next_ready(self, now: float) -> float | None:
        """Seconds until the next key may be used, 0 when it may; None when its record is not to be seen."""
        return max(0.0, self.seen + self.ttl - now) if self.seen else None

    def failed(self, problem: str, now: float) -> Renewals:
        """What it is after a try that came to nothing."""
        return replace(self, problem=problem, failing=self.failing or now)


def read_renewals(directory: Path) -> Renewals | None:
    """What is known below the certificate's directory; None where nobody has renewed, or it cannot be read."""
    try:
        found = json.loads((directory / NAME).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(found, dict):
        return None
    known = {field.name: found[field.name] for field in fields(Renewals) if field.name in found}
    # A damaged file must not stop the agent, which only reads it.
    if not all(isinstance(value, str if name in _TEXTS else (int, float)) for name, value in known.items()):
        return None
    return Renewals(**known)


def write_renewals(directory: Path, renewals: Renewals) -> None:
    """Raises OSError."""
    replace_file(directory / NAME, json.dumps(asdict(renewals), indent=2).encode() + b"\n")


def note_proof(directory: Path, in_use: Callable[[], bool], *, within: float = _LOCKED_WITHIN) -> bool:
    """Note that all ports have shown the certificate in use, where it was put in use unproved; whether that was so.

    in_use: whether what was shown is in use still, asked when no renewal can change it any more. within: seconds that
    one may go on. Raises OSError, and TimeoutError when it takes longer.
    """
    renewals = read_renewals(directory)
    if renewals is None or not renewals.unproved:
        return False
    with locked_directory(directory, within):
        renewals = read_renewals(directory)
        if renewals is None or not renewals.unproved or not in_use():
            return False
        write_renewals(directory, replace(renewals, unproved=""))
    return True
