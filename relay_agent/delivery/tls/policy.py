# SPDX-License-Identifier: GPL-3.0-or-later
"""What the TLS of a mail host must satisfy, and how a failure is put; no I/O.

Two steps. `Wanted` is known with the way: what the operator asks for, whether the MX records are signed, and what
the domain's MTA-STS policy says of this host. `demand` adds the host's TLSA records, known when it is connected to.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from relay_agent.delivery.outcome import Deferred, HostTrouble, Scope
from relay_agent.delivery.reply import printable
from relay_agent.delivery.tls.tlsa import Tlsa, usable

__all__ = [
    "NOTHING_KNOWN",
    "RELAXED",
    "Demand",
    "Kind",
    "Level",
    "Mode",
    "ResultType",
    "TlsError",
    "TlsaAnswer",
    "Wanted",
    "demand",
    "unlisted",
]


#: Option of an envelope: carry the message whatever TLS is like (RFC 8460 3). Only of our own making.
RELAXED = "X-TLS-RELAXED"


class Level(StrEnum):
    """What the operator asks of MX hosts, where the recipient's domain asks for no more."""

    OPPORTUNISTIC = "opportunistic"
    REQUIRED = "required"  # encrypted, with whatever certificate
    VERIFIED = "verified"  # by DANE where the host has it, else by a certificate authority


class Mode(StrEnum):
    """The mode of an MTA-STS policy (RFC 8461 5)."""

    ENFORCE = "enforce"
    TESTING = "testing"
    NONE = "none"


class ResultType(StrEnum):
    """How a session failed, in the words of TLS reports (RFC 8460 4.3)."""

    NO_STARTTLS = "starttls-not-supported"
    HOST_MISMATCH = "certificate-host-mismatch"
    EXPIRED = "certificate-expired"
    NOT_TRUSTED = "certificate-not-trusted"
    FAILURE = "validation-failure"
    TLSA_INVALID = "tlsa-invalid"
    DNSSEC_INVALID = "dnssec-invalid"
    STS_FETCH = "sts-policy-fetch-error"
    STS_INVALID = "sts-policy-invalid"
    STS_WEBPKI = "sts-webpki-invalid"


@dataclass(slots=True, frozen=True)
class Wanted:
    """What is known of a host's TLS from its domain.

    secure_mx: the MX records are signed and were validated, so the host's TLSA records count (RFC 7672 2.2.1).
    sts: the mode of the domain's MTA-STS policy; listed: whether one of its patterns names the host.
    """

    level: Level = Level.OPPORTUNISTIC
    secure_mx: bool = False
    sts: Mode = Mode.NONE
    listed: bool = True


@dataclass(slots=True, frozen=True)
class TlsaAnswer:
    """The TLSA records of a host. owner: the name that they are at, "" when there are none that count; base: the
    same without port and protocol. names: what a certificate may be for (RFC 7672 3.2.2), the base first."""

    owner: str = ""
    base: str = ""
    names: tuple[str, ...] = ()
    records: tuple[Tlsa, ...] = ()


NOTHING_KNOWN = TlsaAnswer()


class Kind(StrEnum):
    """What a session has to be before mail goes over it."""

    OPPORTUNISTIC = "opportunistic"  # used where offered, unverified; in the clear otherwise (RFC 3207, 7435)
    ENCRYPTED = "encrypted"
    VERIFIED = "verified"  # certificate from an authority, for the host's name
    DANE = "dane"  # certificate as the TLSA records say (RFC 7672)


@dataclass(slots=True, frozen=True)
class Demand:
    """What one host has to show. why: who demands it, for people.

    sts: by an MTA-STS policy, in whichever mode. trial: besides, see whether the host would pass one in testing mode,
    and report it; the mail goes on whatever comes of it (RFC 8461 5). reported: the report has its line already.
    """

    kind: Kind
    why: str = ""
    tlsa: TlsaAnswer = field(default_factory=TlsaAnswer)
    sts: bool = False
    trial: bool = False
    reported: bool = False

    @property
    def strict(self) -> bool:
        """Whether mail in the clear is against it."""
        return self.kind is not Kind.OPPORTUNISTIC

    @property
    def authenticates(self) -> bool:
        """Whether a host that fulfils it has proved its name (what REQUIRETLS needs, RFC 8689 4.2.1)."""
        return self.kind in (Kind.VERIFIED, Kind.DANE)


class TlsError(Exception):
    """A host does not fulfil a demand. result: for reports; status and text: for the sender.

    lost: the connection is of no more use.
    """

    def __init__(self, result: ResultType, text: str, *, status: str = "4.7.5", lost: bool = True) -> None:
        super().__init__(text)
        self.result = result
        self.status = status
        self.lost = lost

    def trouble(self, demand: Demand, host: str) -> HostTrouble:
        """The deferral: what was found, and against whose demand it is."""
        text = printable(f"no mail without proper TLS: {self}, but {demand.why}", 600)
        return HostTrouble(Deferred(self.status, text, host, Scope.HOST))


_STS_WHY = (
    "the recipient domain's MTA-STS policy (mode enforce, RFC 8461) wants a host that it names, "
    "with a verified certificate"
)


def demand(wanted: Wanted, answer: TlsaAnswer) -> Demand:
    """What a host has to show. DANE comes before MTA-STS (RFC 8461 2): TLSA records that can be used decide alone.

    TLSA records none of which can be used ask for encryption, without saying how to check it (RFC 7672 2.2).
    """
    where = f"the TLSA records of {answer.owner} (DANE, RFC 7672)"
    if any(map(usable, answer.records)):
        return Demand(Kind.DANE, f"{where} say what certificate the host has", answer)
    if wanted.sts is Mode.ENFORCE:
        return Demand(Kind.VERIFIED, _STS_WHY, answer, sts=True)
    trial = wanted.sts is Mode.TESTING
    if wanted.level is Level.VERIFIED:
        why = 'this relay\'s configuration (tls = "verified") wants a verified certificate for the host'
        return Demand(Kind.VERIFIED, why, answer, sts=trial)
    if wanted.level is Level.REQUIRED:
        why = 'this relay\'s configuration (tls = "required") wants TLS'
        return Demand(Kind.ENCRYPTED, why, answer, sts=trial, trial=trial)
    if answer.records:
        return Demand(Kind.ENCRYPTED, f"{where}, though none can be used, want TLS", answer, sts=trial, trial=trial)
    return Demand(Kind.OPPORTUNISTIC, "", answer, sts=trial, trial=trial)


def unlisted(host: str) -> TlsError:
    """The error of a host that the domain's MTA-STS policy does not name (RFC 8461 4.1)."""
    text = f"mail host {host} matches no mx of the policy"
    return TlsError(ResultType.FAILURE, text)
