# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host has to show."""

from __future__ import annotations

import pytest

from relay_agent.delivery.outcome import Scope
from relay_agent.delivery.tls.policy import (
    NOTHING_KNOWN,
    Demand,
    Kind,
    Level,
    Mode,
    ResultType,
    TlsaAnswer,
    TlsError,
    Wanted,
    demand,
    unlisted,
)
from relay_agent.delivery.tls.tlsa import Tlsa

_GOOD = TlsaAnswer("_25._tcp.mx.example", "mx.example", ("mx.example",), (Tlsa(3, 1, 1, bytes(32)),))
_USELESS = TlsaAnswer("_25._tcp.mx.example", "mx.example", ("mx.example",), (Tlsa(1, 1, 1, bytes(32)),))


@pytest.mark.parametrize(
    ("wanted", "answer", "kind", "trial", "words"),
    [
        (Wanted(), NOTHING_KNOWN, Kind.OPPORTUNISTIC, False, ""),
        (Wanted(Level.REQUIRED), NOTHING_KNOWN, Kind.ENCRYPTED, False, 'tls = "required"'),
        (Wanted(Level.VERIFIED), NOTHING_KNOWN, Kind.VERIFIED, False, 'tls = "verified"'),
        (Wanted(sts=Mode.ENFORCE), NOTHING_KNOWN, Kind.VERIFIED, False, "MTA-STS"),
        (Wanted(sts=Mode.TESTING), NOTHING_KNOWN, Kind.OPPORTUNISTIC, True, ""),
        (Wanted(sts=Mode.NONE), NOTHING_KNOWN, Kind.OPPORTUNISTIC, False, ""),
        (Wanted(Level.REQUIRED, sts=Mode.TESTING), NOTHING_KNOWN, Kind.ENCRYPTED, True, 'tls = "required"'),
        (Wanted(Level.VERIFIED, sts=Mode.TESTING), NOTHING_KNOWN, Kind.VERIFIED, False, 'tls = "verified"'),
        (Wanted(Level.REQUIRED, sts=Mode.ENFORCE), NOTHING_KNOWN, Kind.VERIFIED, False, "MTA-STS"),
        (Wanted(), _GOOD, Kind.DANE, False, "_25._tcp.mx.example (DANE, RFC 7672)"),
        (Wanted(Level.VERIFIED, sts=Mode.ENFORCE), _GOOD, Kind.DANE, False, "DANE"),
        (Wanted(sts=Mode.TESTING), _GOOD, Kind.DANE, False, "DANE"),
        (Wanted(), _USELESS, Kind.ENCRYPTED, False, "though none can be used"),
        (Wanted(sts=Mode.ENFORCE), _USELESS, Kind.VERIFIED, False, "MTA-STS"),
        (Wanted(sts=Mode.TESTING), _USELESS, Kind.ENCRYPTED, True, "though none can be used"),
    ],
)
def test_demand(wanted: Wanted, answer: TlsaAnswer, kind: Kind, trial: bool, words: str) -> None:
    found = demand(wanted, answer)
    assert (found.kind, found.trial) == (kind, trial)
    assert words in found.why
    assert found.strict is (kind is not Kind.OPPORTUNISTIC)
    assert found.authenticates is (kind in (Kind.VERIFIED, Kind.DANE))


def test_the_deferral_says_what_was_found_and_who_minds() -> None:
    error = TlsError(ResultType.NO_STARTTLS, "the server offers no STARTTLS", status="4.7.4")
    outcome = error.trouble(Demand(Kind.ENCRYPTED, "somebody wants TLS"), "mx.example").outcome
    assert (outcome.status, outcome.host, outcome.scope) == ("4.7.4", "mx.example", Scope.HOST)
    assert outcome.text == "no mail without proper TLS: the server offers no STARTTLS, but somebody wants TLS"


def test_a_host_that_no_policy_names() -> None:
    error = unlisted("mx.evil.example")
    assert (error.result, error.status) == (ResultType.FAILURE, "4.7.5")
    assert "mx.evil.example" in str(error)
