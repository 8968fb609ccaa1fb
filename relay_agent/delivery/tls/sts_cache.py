# SPDX-License-Identifier: GPL-3.0-or-later
"""MTA-STS policies on the disk: a file for each domain, shared by all workers, there after a restart.

All of it blocks: call it in a thread.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from relay_agent.delivery.tls.mta_sts import Policy, PolicyError, parse_policy

__all__ = ["CachedPolicy", "StsCache"]

_LARGEST = 200_000  # bytes of a file


@dataclass(slots=True, frozen=True)
class CachedPolicy:
    """A policy, the id that announced it, and when it was last fetched (seconds since the epoch)."""

    id: str
    policy: Policy
    fetched: float

    @property
    def expires(self) -> float:
        """When it ends, seconds since the epoch."""
        return self.fetched + self.policy.max_age


class StsCache:
    """directory: made when the first policy is kept. Names of files are the domains, in A-labels."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def read(self, domain: str) -> CachedPolicy | None:
        """The policy of a domain, ended or not; None when there is none that can be read."""
        try:
            with (self._directory / domain).open("rb") as file:
                kept = json.loads(file.read(_LARGEST))
            return CachedPolicy(str(kept["id"]), parse_policy(kept["policy"].encode()), float(kept["fetched"]))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, PolicyError):
            return None

    def write(self, domain: str, cached: CachedPolicy) -> None:
        """Keep a policy, in the place of an older one, whole or not at all. Raises OSError."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        text = "\n".join(cached.policy.lines)
        new = self._directory / f".{secrets.token_hex(8)}"
        try:
            with new.open("x", encoding="utf-8") as file:
                json.dump({"id": cached.id, "fetched": cached.fetched, "policy": text}, file)
                file.flush()
                os.fsync(file.fileno())
            new.replace(self._directory / domain)
        except BaseException:
            with contextlib.suppress(OSError):
                new.unlink()
            raise

    def remove(self, domain: str) -> None:
        """Forget a policy."""
        with contextlib.suppress(OSError):
            (self._directory / domain).unlink()

    def domains(self) -> Iterator[str]:
        """The domains that have a policy here."""
        try:
            names = [path.name for path in self._directory.iterdir()]
        except OSError:
            return
        yield from (name for name in names if not name.startswith("."))
