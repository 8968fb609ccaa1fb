# SPDX-License-Identifier: GPL-3.0-or-later
"""All ports of a relay at once: addresses looked up, every port tried in every way, and judged together."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import wait
from contextlib import suppress
from dataclasses import dataclass

from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from relay_agent.probe.attempt import Attempt, Family
from relay_agent.probe.known import Known
from relay_agent.probe.presented import describe
from relay_agent.probe.statement import Statement, StatementError, key_of, read_statement
from relay_agent.probe.tries import SurveyError, Tries, addresses, trust
from relay_agent.probe.verdict import Relay, Setting, Verdict, choose, judge

__all__ = ["PORTS", "Survey", "SurveyError", "all_proved", "proved", "survey"]

#: Tried when the relay has not said which ports it has: those of submission, those that relays take besides, and
#: those that hardly any network blocks.
PORTS = (25, 465, 587, 2525, 443, 80, 24, 26, 2465, 2587, 3535, 8025)
_WITHIN = 9.5  # seconds for everything


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
    context = trust(authorities)
    places = addresses(host)
    first = ports or tuple(dict.fromkeys([*(port for port, _ in known.ports), *PORTS]))
    run = Tries(host, places, context, deadline, progress)
    run.add(first)
    said: Statement | None = None
    while pending := run.pending():
        wait(pending, timeout=0.05)
        if said is None and not ports:
            said = proved([describe(each) for each in run.attempts()], known.keys, authorities)
            if said is not None and deadline - time.monotonic() > 1.0:
                run.add([port for port, _ in said.ports])
    attempts = [describe(each) for each in run.attempts()]
    said = said or proved(attempts, known.keys, authorities)
    shown = [each.certificate for each in attempts if each.certificate is not None and not each.certificate.problem]
    keys = {each.key for each in shown} | ({said.key} if said is not None else set())
    named = said.ports if said is not None else known.ports
    relay = Relay(host, {*known.keys, *([said.key] if said is not None else [])} or keys, dict(named))
    verdicts = tuple(judge(relay, greeting, tls) for greeting, tls in run.pairs())
    key = said.key if said is not None else (shown[0].key if shown else "")
    return Survey(
        host, places, verdicts, choose(host, verdicts), said is not None, key, named, time.monotonic() - begun
    )


def proved(attempts: Sequence[Attempt], keys: Sequence[str], authorities: bytes) -> Statement | None:
    """The latest statement of `all_proved`."""
    return next(iter(all_proved(attempts, keys, authorities)), None)


def all_proved(attempts: Sequence[Attempt], keys: Sequence[str], authorities: bytes) -> list[Statement]:
    """The statements that are the relay's, the latest first: its key has shown a trusted certificate here, was known
    before, or is certified by one of the authorities given. Where one is certified, only those are: a company that
    reads along has put an authority of its own on its machines, and can sign a statement, too."""
    trusted = {*keys}
    for each in attempts:
        if each.certificate is not None and not each.certificate.problem:
            trusted.add(each.certificate.key)
    found: list[tuple[bool, float, Statement]] = []
    for each in attempts:
        for text in each.statements:
            with suppress(StatementError):
                said = read_statement(text, time.time())
                certified = _certified(said.certificate, each.target.host, authorities)
                if certified or said.key in trusted:
                    found.append((certified, said.at, said))
    found.sort(key=lambda one: one[:2], reverse=True)
    return [said for certified, _, said in found if certified == found[0][0]]


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
