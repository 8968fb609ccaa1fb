# SPDX-License-Identifier: GPL-3.0-or-later
"""Many tries at once: addresses looked up, every port tried in every way. Standard library only, see `attempt`."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from relay_agent.probe.attempt import Attempt, Family, Target, attempt

__all__ = ["SurveyError", "Tries", "addresses", "trust"]

_LOOKUP = 4.0  # seconds
_NO_SUCH_NAME = "is it spelt right?"
_AT_ONCE = 64  # threads; what waits for a silent port costs nothing else


class SurveyError(Exception):
    """Nothing could be tried; the text says why."""


class Tries:
    """The tries under way."""

    def __init__(
        self,
        host: str,
        addresses: Sequence[tuple[Family, str]],
        context: ssl.SSLContext,
        deadline: float,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        self._host, self._addresses, self._context, self._deadline = host, addresses, context, deadline
        self._progress = progress
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="probe")
        self._tries: dict[tuple[int, Family, str, str], Future[Attempt]] = {}
        self._lock = threading.Lock()
        self._done = 0

    def add(self, ports: Iterable[int]) -> None:
        """Try these ports, too."""
        for port in ports:
            for family, address in self._addresses:
                for mode in ("greeting", "tls"):
                    if (port, family, address, mode) not in self._tries:
                        target = Target(self._host, family, address, port, mode)
                        future = self._pool.submit(attempt, target, self._context, self._deadline)
                        self._tries[port, family, address, mode] = future
                        future.add_done_callback(self._count)

    def pending(self) -> list[Future[Attempt]]:
        """Those that are not done; when none is, the threads are gone."""
        left = [future for future in self._tries.values() if not future.done()]
        if not left:
            self._pool.shutdown()
        return left

    def attempts(self) -> list[Attempt]:
        """Those that are done."""
        return [future.result() for future in self._tries.values() if future.done()]

    def pairs(self) -> list[tuple[Attempt, Attempt]]:
        """Both tries of each port and address, by port."""
        keys = sorted({key[:3] for key in self._tries})
        return [(self._tries[*key, "greeting"].result(), self._tries[*key, "tls"].result()) for key in keys]

    def _count(self, _: Future[Attempt]) -> None:
        if self._progress is not None:
            with self._lock:
                self._done += 1
                self._progress(self._done, len(self._tries))


def trust(authorities: bytes) -> ssl.SSLContext:
    """What certificates are checked with: the system's authorities, and these (PEM). Raises SurveyError."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if authorities:
        try:
            context.load_verify_locations(cadata=authorities.decode("ascii"))
        except (ssl.SSLError, UnicodeDecodeError) as error:
            raise SurveyError(f"the file of authorities has no certificates (PEM): {error}") from error
    return context


def addresses(host: str) -> tuple[tuple[Family, str], ...]:
    """One address of each family: what a program tries first. Looked up in a thread, as a dead resolver blocks.

    Raises SurveyError."""
    found: list[tuple[Family, str]] = []
    problem: list[str] = []

    def look() -> None:
        try:
            for family, _, _, _, place in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM):
                if family in (socket.AF_INET, socket.AF_INET6):
                    found.append(("ipv6" if family == socket.AF_INET6 else "ipv4", str(place[0])))
        except (OSError, UnicodeError) as error:
            # EAI_AGAIN is from a machine without a network, or from name servers without one.
            offline = isinstance(error, socket.gaierror) and error.errno == socket.EAI_AGAIN
            problem.append("its name servers cannot be asked: is this machine online?" if offline else _NO_SUCH_NAME)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    thread.join(_LOOKUP)
    if thread.is_alive():
        raise SurveyError(f"{host}: this network's name servers do not answer")
    if not found:
        raise SurveyError(f"{host}: no address is known for this name: {problem[0] if problem else _NO_SUCH_NAME}")
    by_family: dict[Family, str] = {}
    for family, address in found:
        by_family.setdefault(family, address)
    return tuple(sorted(by_family.items()))
