# SPDX-License-Identifier: GPL-3.0-or-later
"""What networks do to a port, and what the traveller is told."""

from __future__ import annotations

from typing import Any, Literal

import pytest

from relay_agent.probe.attempt import Attempt, End, Presented, Target
from relay_agent.probe.verdict import Relay, Setting, Verdict, What, choose, judge

HOST = "relay.test"
RELAY = Relay(HOST, {"ours"}, {587: "starttls", 465: "implicit", 2525: "none"})
OURS = Presented("", "ours", HOST, "Authority", (HOST,), "2030-01-01", "TLSv1.3")
THEIRS = Presented("self-signed certificate", "theirs", "proxy.isp.test", "ISP", (), "2030-01-01", "TLSv1.2")


def tried(
    port: int = 587, mode: Literal["greeting", "tls"] = "greeting", end: End = End.SPOKE, **found: Any
) -> Attempt:
    return Attempt(Target(HOST, "ipv4", "192.0.2.1", port, mode), end, **found)


def both(greeting: Attempt, tls: Attempt | None = None) -> Verdict:
    tls = tls or tried(greeting.target.port, "tls", End.NOT_TLS)
    return judge(RELAY, greeting, tls)


@pytest.mark.parametrize(
    ("greeting", "tls", "what", "words"),
    [
        (tried(certificate=OURS, auth=("PLAIN",), starttls=True), None, What.OPEN, "open, STARTTLS"),
        (
            tried(end=End.NO_GREETING),
            tried(mode="tls", certificate=OURS, auth=("PLAIN",)),
            What.OPEN,
            "open, TLS",
        ),
        (
            tried(certificate=OURS, auth=("PLAIN",), starttls=True),
            tried(mode="tls", certificate=OURS, auth=("PLAIN",)),
            What.OPEN,
            "open, TLS and STARTTLS",
        ),
        (tried(certificate=OURS, auth=("PLAIN",), starttls=True, seconds=7.2), None, What.SLOW, "7 seconds"),
        (tried(end=End.SILENT), tried(mode="tls", end=End.SILENT), What.SILENT, "silently dropped"),
        (tried(end=End.REFUSED), tried(mode="tls", end=End.REFUSED), What.REFUSED, "refused"),
        (tried(end=End.UNREACHABLE), tried(mode="tls", end=End.UNREACHABLE), What.UNREACHABLE, "no way there"),
        (tried(end=End.RESET), tried(mode="tls", end=End.RESET), What.CUT, "cut off"),
        (tried(end=End.NO_GREETING), tried(mode="tls", end=End.NO_GREETING), What.SILENT, "holds the connection"),
        (tried(banner="relay.test ESMTP"), None, What.STRIPPED, "taken out on the way"),
        (tried(banner="*****", statements=["x"]), None, What.STRIPPED, "taken out on the way"),
        (tried(banner="mail.isp.test ESMTP Postfix"), None, What.OTHER, "somebody else, without TLS: “mail.isp"),
        (tried(2525, banner="relay.test ESMTP"), None, What.NO_TLS, "without TLS, for its own network"),
        (tried(starttls=True, starttls_failed="bad version"), None, What.NO_TLS, "then fails: bad version"),
        (tried(starttls=True), None, What.NO_TLS, "then refused"),
        (tried(certificate=THEIRS), None, What.CERTIFICATE, "for proxy.isp.test, issued by ISP"),
        (
            tried(certificate=THEIRS, banner="relay.test ESMTP"),
            None,
            What.CERTIFICATE,
            "do not sign in",
        ),
        (
            tried(certificate=THEIRS, banner="mail.isp.test ESMTP"),
            None,
            What.OTHER,
            "somebody else: “mail.isp.test ESMTP”, with a certificate for proxy.isp.test",
        ),
        (
            tried(certificate=Presented("certificate has expired", "ours", HOST, "A", (), "2020-01-01", "TLSv1.3")),
            None,
            What.CERTIFICATE,
            "the relay's own key",
        ),
        (tried(certificate=OURS, banner="other ESMTP"), None, What.NO_SIGN_IN, "offers no sign-in"),
        (tried(end=End.TURNED_AWAY, said="554 go away"), None, What.TURNED_AWAY, "554 go away"),
        (
            tried(end=End.NOT_SMTP, said="HTTP/1.0 302 Found", location="http://login.hotel.test/"),
            None,
            What.PORTAL,
            "open http://login.hotel.test/ in a browser",
        ),
        (
            tried(end=End.NOT_SMTP, said="HTTP/1.0 301 Moved", location="https://relay.test/"),
            None,
            What.OTHER,
            "a web server",
        ),
        (tried(end=End.NOT_SMTP, said="SSH-2.0-x"), None, What.OTHER, "no mail server: “SSH-2.0-x”"),
    ],
)
def test_each_network_is_named(greeting: Attempt, tls: Attempt | None, what: What, words: str) -> None:
    verdict = both(greeting, tls)
    assert verdict.what is what
    assert words in verdict.words
    assert bool(verdict.works) == (what in (What.OPEN, What.SLOW))


def test_a_trusted_certificate_with_another_key_is_told() -> None:
    other = Presented("", "company", HOST, "Company Proxy", (HOST,), "2030-01-01", "TLSv1.3")
    assert "issued by Company Proxy" in both(tried(certificate=other, auth=("PLAIN",))).words


def verdict(port: int, *works: Any, what: What = What.OPEN, family: Any = "ipv4") -> Verdict:
    return Verdict(
        port, family, "x", what if works else (what if what is not What.OPEN else What.SILENT), "", works, 0.1
    )


def chosen(*verdicts: Verdict) -> tuple[int, str] | None:
    setting = choose(HOST, verdicts)
    return (setting.port, setting.security) if isinstance(setting, Setting) else None


def test_the_setting_is_the_one_most_networks_let_through() -> None:
    assert chosen(verdict(465), verdict(587)) is None
    assert chosen(verdict(2525, "STARTTLS"), verdict(465, "TLS"), verdict(443, "TLS")) == (443, "TLS")
    assert chosen(verdict(443), verdict(465, "TLS"), verdict(587, "STARTTLS")) == (465, "TLS")
    assert chosen(verdict(465), verdict(443), verdict(587, "STARTTLS")) == (587, "STARTTLS")
    assert chosen(verdict(2525, "STARTTLS"), verdict(8025, "TLS", "STARTTLS")) == (8025, "TLS")
    assert chosen(verdict(465, "TLS", what=What.SLOW), verdict(587, "STARTTLS")) == (587, "STARTTLS")


def test_a_family_that_is_dead_and_silent_counts_against_a_port() -> None:
    half = [verdict(465, "TLS"), verdict(465, family="ipv6")]
    whole = [verdict(587, "STARTTLS"), verdict(587, "STARTTLS", family="ipv6")]
    assert chosen(*half, *whole) == (587, "STARTTLS")
    gone = [verdict(465, "TLS"), verdict(465, family="ipv6", what=What.UNREACHABLE)]
    assert chosen(*gone, *whole) == (465, "TLS")
    setting = choose(HOST, half)
    assert setting is not None
    assert "wait some seconds" in setting.why


def test_why_names_what_does_not_get_through() -> None:
    setting = choose(HOST, [verdict(443), verdict(465), verdict(587, "STARTTLS")])
    assert setting is not None
    assert setting.why == "443 and 465 do not get through here; the certificate was checked after STARTTLS"
    setting = choose(HOST, [verdict(443, "TLS"), verdict(587)])
    assert setting is not None
    assert setting.why.startswith("nearly every network lets this port through; it begins with TLS")


@pytest.mark.parametrize("problem", ["unable to get local issuer certificate", "self-signed certificate in chain"])
def test_an_authority_that_this_machine_does_not_know(problem: str) -> None:
    """Who has met the relay before can tell; who has not, is told what to do."""
    theirs = Presented(problem, "theirs", HOST, "Private", (HOST,), "2030-01-01", "TLSv1.3")
    own = Presented(problem, "ours", HOST, "Private", (HOST,), "2030-01-01", "TLSv1.3")
    nothing = tried(mode="tls", end=End.NOT_TLS)
    unmet = Relay(HOST, set(), {})
    assert judge(unmet, tried(certificate=theirs), nothing).what is What.UNKNOWN_AUTHORITY
    assert judge(RELAY, tried(certificate=theirs), nothing).what is What.CERTIFICATE
    known = judge(RELAY, tried(certificate=own), nothing)
    assert known.what is What.UNKNOWN_AUTHORITY
    assert known.words.startswith("the relay's own key")
    elsewhere = Presented(problem, "theirs", "proxy.isp.test", "ISP", (), "2030-01-01", "TLSv1.3")
    assert judge(unmet, tried(certificate=elsewhere), nothing).what is What.CERTIFICATE


def test_a_host_that_was_given_by_its_address() -> None:
    problem = "IP address mismatch, certificate is not valid for '192.0.2.1'."
    shown = Presented(problem, "ours", HOST, "Private", (HOST,), "2030-01-01", "TLSv1.3")
    nothing = tried(mode="tls", end=End.NOT_TLS)
    assert judge(Relay("192.0.2.1", set(), {}), tried(certificate=shown), nothing).what is What.ADDRESS
    assert judge(Relay(HOST, set(), {}), tried(certificate=shown), nothing).what is not What.ADDRESS
