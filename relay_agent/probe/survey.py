# SPDX-License-Identifier: GPL-3.0-or-later
"""All ports of a relay at once: addresses looked up, every port tried in every way, and judged together."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from relay_agent.probe.attempt import Attempt, Target, attempt
from relay_agent.probe.known import Known
from relay_agent.probe.statement import Statement, StatementError, key_of, read_statement
from relay_agent.probe.verdict import Relay, Setting, Verdict, choose, judge

__all__ = ["PORTS", "Survey", "SurveyError", "survey"]

#: Tried when the relay has not said which ports it has: those of submission, those that relays take besides, and
#: those that hardly any network blocks.
PORTS = (25, 465, 587, 2525, 443, 80, 24, 26, 2465, 2587, 3535, 8025)
_WITHIN = 9.5  # seconds for everything
_LOOKUP = 4.0
_AT_ONCE = 64  # threads; what waits for a silent port costs nothing else

Family = Literal["ipv4", "ipv6"]


class SurveyError(Exception):
    """Nothing could be tried; the text says why."""


@dataclass(frozen=True, slots=True)
class Survey:
    """What was found. signed: the relay's own word on its ports was there and proved. key: of its certificate, proved
    here; empty when no certificate was."""

    host: str
    addresses: tuple[tuple[Family, str], ...]
    verdicts: tuple[Verdict, ...]
    setting: Setting | None
    signed: bool
    key: str
    ports: tuple[tuple[int, str], ...]
    seconds: float


def survey(
    host: str,
    *,
    ports: Sequence[int] = (),
    authorities: bytes = b"",
    known: Known | None = None,
    progress: Callable[[int, int], None] | None = None,
    within: float = _WITHIN,
) -> Survey:
    """Try them. ports: instead of the usual ones. authorities: PEM, trusted besides the system's. progress: is told
    how many tries are done, and of how many. within: seconds. Raises SurveyError."""
    begun = time.monotonic()
    deadline = begun + within
    known = known or Known()
    context = _context(authorities)
    addresses = _addresses(host)
    first = ports or tuple(dict.fromkeys([*(port for port, _ in known.ports), *PORTS]))
    run = _Run(host, addresses, context, deadline, progress)
    run.add(first)
    said: Statement | None = None
    while pending := run.pending():
        wait(pending, timeout=0.05)
        if said is None and not ports:
            said = _proved(run.attempts(), known.keys, authorities)
            if said is not None and deadline - time.monotonic() > 1.0:
                run.add([port for port, _ in said.ports])
    attempts = run.attempts()
    said = said or _proved(attempts, known.keys, authorities)
    shown = [each.certificate for each in attempts if each.certificate is not None and not each.certificate.problem]
    proved = {each.key for each in shown} | ({said.key} if said is not None else set())
    named = said.ports if said is not None else known.ports
    relay = Relay(host, {*known.keys, *([said.key] if said is not None else [])} or proved, dict(named))
    verdicts = tuple(judge(relay, greeting, tls) for greeting, tls in run.pairs())
    key = said.key if said is not None else (shown[0].key if shown else "")
    return Survey(
        host, addresses, verdicts, choose(host, verdicts), said is not None, key, named, time.monotonic() - begun
    )


class _Run:
    """The tries under way."""

    def __init__(
        self,
        host: str,
        addresses: Sequence[tuple[Family, str]],
        context: ssl.SSLContext,
        deadline: float,
        progress: Callable[[int, int], None] | None,
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


def _context(authorities: bytes) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if authorities:
        try:
            context.load_verify_locations(cadata=authorities.decode("ascii"))
        except (ssl.SSLError, UnicodeDecodeError) as error:
            raise SurveyError(f"the file of authorities has no certificates (PEM): {error}") from error
    return context


def _addresses(host: str) -> tuple[tuple[Family, str], ...]:
    """One address of each family: what a program tries first. Looked up in a thread, as a dead resolver blocks."""
    found: list[tuple[Family, str]] = []
    problem: list[str] = []

    def look() -> None:
        try:
            for family, _, _, _, place in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM):
                if family in (socket.AF_INET, socket.AF_INET6):
                    found.append(("ipv6" if family == socket.AF_INET6 else "ipv4", str(place[0])))
        except (OSError, UnicodeError) as error:
            problem.append(getattr(error, "strerror", None) or str(error))

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    thread.join(_LOOKUP)
    if thread.is_alive():
        raise SurveyError(f"{host}: this network's name servers do not answer")
    if not found:
        raise SurveyError(f"{host}: no address is known for this name ({'; '.join(problem) or 'none'})")
    by_family: dict[Family, str] = {}
    for family, address in found:
        by_family.setdefault(family, address)
    return tuple(sorted(by_family.items()))


def _proved(attempts: Sequence[Attempt], keys: Sequence[str], authorities: bytes) -> Statement | None:
    """A statement that is the relay's: its key has shown a trusted certificate here, was known before, or is certified
    by one of the authorities given."""
    trusted = {*keys}
    for each in attempts:
        if each.certificate is not None and not each.certificate.problem:
            trusted.add(each.certificate.key)
    best: Statement | None = None
    for each in attempts:
        for text in each.statements:
            with suppress(StatementError):
                said = read_statement(text, time.time())
                ours = said.key in trusted or _certified(said.certificate, each.target.host, authorities)
                if ours and (best is None or said.at > best.at):
                    best = said
    return best


def _certified(certificate: bytes, host: str, authorities: bytes) -> bool:
    if not authorities:
        return False
    try:
        roots = x509.load_pem_x509_certificates(authorities)
        leaf = x509.load_der_x509_certificate(certificate)
        PolicyBuilder().store(Store(roots)).build_server_verifier(x509.DNSName(host)).verify(leaf, [])
        return key_of(certificate) != ""
    except (ValueError, VerificationError):
        return False
