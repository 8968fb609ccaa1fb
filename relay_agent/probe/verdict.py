# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tries of a port mean, in words, and the setting that follows. No I/O."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_address
from typing import Literal

from relay_agent.probe.attempt import Attempt, End, Presented

__all__ = ["Relay", "Setting", "Verdict", "What", "choose", "judge"]

Security = Literal["TLS", "STARTTLS"]

_SLOW = 5.0  # seconds until a session is ready: mail programs begin to give up at ten
#: By how many networks let it through: a setting that works here is to work at the next place, too.
_PREFERRED: tuple[tuple[int, Security], ...] = ((443, "TLS"), (465, "TLS"), (587, "STARTTLS"))


#: What OpenSSL says when it knows no authority that issued the certificate.
_UNKNOWN_AUTHORITY = ("local issuer", "self-signed", "self signed", "first certificate")


class What(StrEnum):
    """What a port turned out to be from here."""

    OPEN = "open"
    SLOW = "slow"
    SILENT = "silent"
    REFUSED = "refused"
    UNREACHABLE = "unreachable"
    CUT = "cut"
    STRIPPED = "stripped"
    CERTIFICATE = "certificate"
    UNKNOWN_AUTHORITY = "unknown_authority"  # the relay's own, or somebody who reads along: this machine cannot tell
    ADDRESS = "address"  # of a host that was given by its address, which the certificate does not have
    OTHER = "other"
    PORTAL = "portal"
    TURNED_AWAY = "turned_away"
    NO_SIGN_IN = "no_sign_in"
    NO_TLS = "no_tls"


@dataclass(frozen=True, slots=True)
class Relay:
    """What is known of the relay. keys: of its certificate (see `key_of`), proved here or before; perhaps none.
    ports: those that it says it has, with their TLS mode; perhaps none."""

    host: str
    keys: Collection[str]
    ports: dict[int, str]


@dataclass(frozen=True, slots=True)
class Verdict:
    """One port in one address family. works: the kinds of security that a mail program can use, best first."""

    port: int
    family: Literal["ipv4", "ipv6"]
    address: str
    what: What
    words: str
    works: tuple[Security, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class Setting:
    """What to type into a mail program, and why."""

    host: str
    port: int
    security: Security
    why: str


def judge(relay: Relay, greeting: Attempt, tls: Attempt) -> Verdict:
    """The verdict on a port from its two tries: waiting for the server's greeting, and beginning with TLS."""
    target = greeting.target
    works = _works(greeting, tls)
    what, words = _opened(relay, greeting, tls, works) if works else _failed(relay, greeting, tls)
    seconds = min((each.seconds for each in (tls, greeting) if _usable(each)), default=greeting.seconds)
    if what is What.OPEN and seconds > _SLOW:
        what, words = What.SLOW, f"open, but slow: {seconds:.0f} seconds until a program could sign in"
    return Verdict(target.port, target.family, target.address, what, words, works, round(seconds, 3))


def choose(host: str, verdicts: Sequence[Verdict]) -> Setting | None:
    """The setting to use; None when there is none. What works in every family that the host has goes first."""
    ports = sorted({verdict.port for verdict in verdicts})
    best: tuple[tuple[int, int, int], int, Security] | None = None
    for port in ports:
        here = [verdict for verdict in verdicts if verdict.port == port]
        # A family that is not there at all is given up at once by every program; one that stays silent is waited for.
        hindered = sum(not verdict.works and verdict.what is not What.UNREACHABLE for verdict in here)
        slow = sum(verdict.what is What.SLOW for verdict in here)
        for security in dict.fromkeys(each for verdict in here for each in verdict.works):
            place = _PREFERRED.index((port, security)) if (port, security) in _PREFERRED else len(_PREFERRED)
            rank = (hindered + slow, place, 0 if security == "TLS" else 1)
            if best is None or rank < best[0]:
                best = rank, port, security
    if best is None:
        return None
    (hindered, place, _), port, security = best
    return Setting(host, port, security, _why(verdicts, port, security, hindered=hindered, place=place))


def _why(verdicts: Sequence[Verdict], port: int, security: Security, *, hindered: int, place: int) -> str:
    blocked = [
        str(number)
        for number, kind in _PREFERRED[:place]
        if any(verdict.port == number and kind not in verdict.works for verdict in verdicts)
    ]
    parts = []
    if blocked:
        parts.append(f"{_listed(blocked)} {'do' if len(blocked) > 1 else 'does'} not get through here")
    if (port, security) == _PREFERRED[0]:
        parts.append("nearly every network lets this port through")
    if security == "TLS":
        parts.append("it begins with TLS, so nothing on the way can take the encryption out (RFC 8314)")
    else:
        parts.append("the certificate was checked after STARTTLS")
    if hindered:
        parts.append("but not over every kind of address: a program may wait some seconds before it gets through")
    return "; ".join(parts)


def _usable(each: Attempt) -> bool:
    certificate = each.certificate
    return each.end is End.SPOKE and certificate is not None and not certificate.problem and bool(each.auth)


def _works(greeting: Attempt, tls: Attempt) -> tuple[Security, ...]:
    found: list[Security] = []
    if _usable(tls):
        found.append("TLS")
    if _usable(greeting):
        found.append("STARTTLS")
    return tuple(found)


def _opened(relay: Relay, greeting: Attempt, tls: Attempt, works: Sequence[Security]) -> tuple[What, str]:
    shown = (tls if _usable(tls) else greeting).certificate
    assert shown is not None
    if relay.keys and shown.key not in relay.keys:
        # Trusted by this machine and yet another key: a company's own authority, or a certificate renewed since.
        return What.OPEN, (
            f"open, {' and '.join(works)}; the certificate is trusted here, but its key is not one that the relay is "
            f"known by: issued by {shown.issuer}"
        )
    return What.OPEN, f"open, {' and '.join(works)}"


def _failed(relay: Relay, greeting: Attempt, tls: Attempt) -> tuple[What, str]:
    for each in (tls, greeting):
        if each.certificate is not None and each.certificate.problem:
            return _certificate(relay, each.certificate, each.banner)
    for each in (tls, greeting):
        if each.end is End.SPOKE and each.certificate is not None:
            return What.NO_SIGN_IN, f"answered with a valid certificate, but offers no sign-in: “{each.banner}”"
    if greeting.end is End.SPOKE:
        return _without_tls(relay, greeting)
    for each in (greeting, tls):
        if each.end is End.TURNED_AWAY:
            return What.TURNED_AWAY, f"a mail server that turned us away: “{each.said or each.banner}”"
        if each.end is End.NOT_SMTP:
            return _no_mail_server(relay, each)
    return _not_there(greeting, tls)


def _certificate(relay: Relay, shown: Presented, banner: str) -> tuple[What, str]:
    whose = shown.subject or ", ".join(shown.names[:3]) or "nobody in particular"
    unknown = any(words in shown.problem.lower() for words in _UNKNOWN_AUTHORITY)
    if shown.key and shown.key in relay.keys:
        return What.UNKNOWN_AUTHORITY if unknown else What.CERTIFICATE, (
            f"the relay's own key, but its certificate is not accepted here: {shown.problem} (it is for {whose}, "
            f"issued by {shown.issuer or 'nobody'}, until {shown.expires})"
        )
    host = relay.host.lower()
    if _is_address(host) and "address mismatch" in shown.problem.lower():
        return What.ADDRESS, f"answers with a valid certificate for {whose}: give that name in place of its address"
    if unknown and not relay.keys and host in (whose.lower(), *map(str.lower, shown.names)):
        return What.UNKNOWN_AUTHORITY, (
            f"a certificate for {whose} of an authority that this machine does not know: {shown.issuer or 'nobody'}; "
            "the relay's own, or of somebody who reads along"
        )
    if banner and host not in banner.lower().split() and host not in (whose, *shown.names):
        return What.OTHER, f"answered by somebody else: “{banner}”, with a certificate for {whose}"
    return What.CERTIFICATE, (
        f"not our certificate: it is for {whose}, issued by {shown.issuer or 'nobody'} ({shown.problem}). Somebody "
        "reads along, or it is another machine: do not sign in"
    )


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _without_tls(relay: Relay, greeting: Attempt) -> tuple[What, str]:
    port, ours = greeting.target.port, relay.host.lower() in greeting.banner.lower().split()
    if greeting.starttls_failed:
        return What.NO_TLS, f"STARTTLS is offered and then fails: {greeting.starttls_failed}"
    if greeting.starttls:
        return What.NO_TLS, "STARTTLS is offered and then refused"
    declared = relay.ports.get(port)
    if declared == "none" and (ours or greeting.statements):
        return What.NO_TLS, "a port of the relay without TLS, for its own network"
    if greeting.statements or ours or (declared in ("starttls", "auto") and relay.host in greeting.banner):
        return What.STRIPPED, (
            "the relay answers, but STARTTLS has been taken out on the way: the network wants to read along; do not "
            "sign in without TLS"
        )
    return What.OTHER, f"answered by somebody else, without TLS: “{greeting.banner}”"


def _no_mail_server(relay: Relay, each: Attempt) -> tuple[What, str]:
    if each.location and relay.host.lower() not in each.location.lower():
        return What.PORTAL, f"a login page of this network answers: open {each.location} in a browser first"
    if each.said.startswith("HTTP/"):
        return What.OTHER, "answered by a web server"
    return What.OTHER, f"answered by something that is no mail server: “{each.said}”"


def _not_there(greeting: Attempt, tls: Attempt) -> tuple[What, str]:
    ends = {greeting.end, tls.end}
    if End.REFUSED in ends:
        return What.REFUSED, "refused: nothing listens there, or a firewall says no"
    if ends <= {End.SILENT}:
        return What.SILENT, "silently dropped: no answer at all"
    if ends <= {End.UNREACHABLE, End.SILENT}:
        return What.UNREACHABLE, "no way there from here"
    if End.RESET in ends:
        return What.CUT, "connected and then cut off: a firewall that looks inside"
    return What.SILENT, "connected, and then no word: something holds the connection without the relay behind it"


def _listed(parts: Sequence[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
