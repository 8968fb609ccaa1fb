# SPDX-License-Identifier: GPL-3.0-or-later
"""Watches how long the certificate in use still holds, and how its renewals go: for log, status and metrics."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

from relay_agent.certificates.journal import Renewals, read_renewals
from relay_agent.config.certificate import validity
from relay_agent.config.schema import Config
from relay_agent.observability.log import EventLog

__all__ = ["WARN_BEFORE", "CertificateWatch"]

WARN_BEFORE: Final = 21 * 86400.0  # seconds
_DAY: Final = 86400.0
_LOOK_EVERY: Final = 600.0  # seconds; reading a small file


class CertificateWatch:
    """The certificate as the workers of this program have it: a new one comes by a reload, and so by another program.

    log: gets `certificate_expires`, `certificate_expired` and `certificate_renewal_fails`, each once a day.
    """

    def __init__(self, config: Config, log: EventLog) -> None:
        self._tls = config.tls
        self._log = log
        self._said: dict[str, float] = {}
        self._task: asyncio.Task[None] | None = None
        self.expiry = self._expiry()

    def start(self) -> None:
        """Look from now on."""
        if self.expiry is not None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    def export(self) -> dict[str, float]:
        """For another program of this process: when the log was told last of each, seconds since the epoch."""
        return self._said

    def restore(self, said: dict[str, float]) -> None:
        """Go on from `export`."""
        self._said = dict(said)

    def renewals(self) -> Renewals | None:
        """How the renewals on this host went; None where there are none."""
        return read_renewals(self._tls.certificate.parent) if self._tls is not None else None

    def status(self) -> dict[str, Any] | None:
        """For `relay-agent status`, JSON-ready; times in seconds since the epoch. None where there is no TLS."""
        if self.expiry is None:
            return None
        renewals, now = self.renewals(), time.time()
        told: dict[str, Any] = {"expires": self.expiry, "soon": self.expiry - now < WARN_BEFORE}
        if renewals is not None:
            told["renewal"] = {
                "looked": renewals.looked,
                "renewed": renewals.renewed,
                "failing": renewals.failing,
                "problem": renewals.problem,
                "next_key_in": renewals.next_ready(now),
            }
        return told

    def look(self, now: float) -> None:
        """Tell the log what is wrong, once a day. now: seconds since the epoch."""
        if self.expiry is None:
            return
        left, renewals = self.expiry - now, self.renewals()
        if left <= 0:
            self._say(now, "certificate_expired", "error", days=round(left / _DAY, 1))
        elif left < WARN_BEFORE:
            self._say(now, "certificate_expires", "warning", days=round(left / _DAY, 1))
        if renewals is not None and renewals.problem:
            since = round((now - renewals.failing) / 3600, 1)
            self._say(now, "certificate_renewal_fails", "warning", hours=since, problem=renewals.problem)

    def _say(self, now: float, name: str, level: str, **fields: object) -> None:
        if now - self._said.get(name, 0.0) >= _DAY:
            self._said[name] = now
            self._log.event(name, level=level, **fields)

    async def _run(self) -> None:
        while True:
            self.look(time.time())
            await asyncio.sleep(_LOOK_EVERY)

    def _expiry(self) -> int | None:
        if self._tls is None:
            return None
        try:
            return int(validity(self._tls.certificate.read_text("ascii"))[1].timestamp())
        except (OSError, ValueError):
            return None
