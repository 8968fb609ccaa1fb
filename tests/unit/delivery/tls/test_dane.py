# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a chain satisfies TLSA records."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from relay_agent.delivery.tls.dane import chain_fault
from relay_agent.delivery.tls.tlsa import Tlsa

from .chains import NOW, Made, issue, tlsa

_NAMES = ("mx.example.org",)
_ROOT = issue("Root", ca=True)
_MIDDLE = issue("Middle", _ROOT, ca=True, path_length=0)
_LEAF = issue("leaf", _MIDDLE, dns=_NAMES)


def fault(chain: Sequence[Made], *records: Tlsa, names: Sequence[str] = _NAMES) -> str:
    found = chain_fault([each.der for each in chain], records, names, NOW)
    return str(found) if found is not None else ""


@pytest.mark.parametrize("selector", [0, 1])
@pytest.mark.parametrize("matching", [0, 1, 2])
def test_the_server_s_own_certificate(selector: int, matching: int) -> None:
    """Whatever name and dates it has (RFC 7672 3.1.1)."""
    old = issue("other", dns=("other.example",), days=(-20, -10))
    assert fault([old], tlsa(old, 3, selector, matching)) == ""
    assert "matches none of the TLSA records" in fault([_LEAF], tlsa(old, 3, selector, matching))


def test_one_record_of_several_suffices() -> None:
    """As while a key is changed."""
    assert fault([_LEAF], tlsa(_ROOT, 3), tlsa(_LEAF, 3)) == ""


def test_a_record_of_another_usage_does_not_count() -> None:
    assert fault([_LEAF], tlsa(_LEAF, 1), tlsa(_ROOT, 3))
    assert fault([_LEAF, _MIDDLE], tlsa(_MIDDLE, 3))


@pytest.mark.parametrize("selector", [0, 1])
@pytest.mark.parametrize("matching", [0, 1, 2])
@pytest.mark.parametrize("anchor", [_MIDDLE, _ROOT])
def test_an_authority_of_the_chain(anchor: Made, selector: int, matching: int) -> None:
    assert fault([_LEAF, _MIDDLE, _ROOT], tlsa(anchor, 2, selector, matching)) == ""


def test_an_authority_that_only_dns_has() -> None:
    """It has to be there whole; of a hash alone nothing can be followed."""
    assert fault([_LEAF, _MIDDLE], tlsa(_ROOT, 2, 0, 0)) == ""
    assert "matches none" in fault([_LEAF, _MIDDLE], tlsa(_ROOT, 2, 0, 1))
    assert "matches none" in fault([_LEAF, _MIDDLE], Tlsa(2, 0, 0, b"not a certificate"))


def test_the_order_of_the_chain_does_not_matter() -> None:
    assert fault([_LEAF, _ROOT, _MIDDLE], tlsa(_ROOT, 2)) == ""


def test_an_authority_that_is_merely_sent_along() -> None:
    stranger = issue("leaf", dns=_NAMES)
    assert "matches none" in fault([stranger, _ROOT], tlsa(_ROOT, 2))


def test_the_leaf_is_no_anchor_of_its_own() -> None:
    alone = issue("leaf", dns=_NAMES)
    assert "matches none" in fault([alone], tlsa(alone, 2))


def test_a_forged_signature() -> None:
    """An issuer of the same name with another key."""
    forger = issue("Middle", ca=True)
    forged = issue("leaf", forger, dns=_NAMES)
    assert "matches none" in fault([forged, _MIDDLE, _ROOT], tlsa(_ROOT, 2))


def test_the_name_counts_below_an_authority() -> None:
    words = fault([_LEAF, _MIDDLE], tlsa(_MIDDLE, 2), names=("other.example",))
    assert words == "the server's certificate is for mx.example.org, not for other.example"
    assert fault([_LEAF, _MIDDLE], tlsa(_MIDDLE, 2), names=("other.example", "mx.example.org")) == ""


@pytest.mark.parametrize("days", [(-20, -1), (1, 20)])
@pytest.mark.parametrize("which", ["leaf", "middle", "root"])
def test_dates_count_below_an_authority(which: str, days: tuple[int, int]) -> None:
    normal = (-10, 10)
    root = issue("Root", ca=True, days=days if which == "root" else normal)
    middle = issue("Middle", root, ca=True, days=days if which == "middle" else normal)
    leaf = issue("leaf", middle, dns=_NAMES, days=days if which == "leaf" else normal)
    words = fault([leaf, middle, root], tlsa(root, 2))
    assert ("ended on" if days[1] < 0 else "begins only on") in words


_NO_SIGNING = x509.KeyUsage(True, False, False, False, False, False, False, False, False)


@pytest.mark.parametrize(
    ("middle", "words"),
    [
        ({"ca": False}, "is not an authority's"),
        ({"extensions": ((x509.BasicConstraints(ca=False, path_length=None), True),)}, "may not issue"),
        ({"ca": True, "extensions": ((_NO_SIGNING, True),)}, "may not issue others"),
        (
            {"ca": True, "extensions": ((x509.NameConstraints([x509.DNSName("a.example")], None), True),)},
            "a critical extension that is not known here (2.5.29.30)",
        ),
    ],
)
def test_who_may_issue(middle: dict[str, object], words: str) -> None:
    between = issue("Middle", _ROOT, **middle)  # type: ignore[arg-type]
    leaf = issue("leaf", between, dns=_NAMES)
    assert words in fault([leaf, between, _ROOT], tlsa(_ROOT, 2))


def test_how_deep_an_authority_may_go() -> None:
    below = issue("Below", _MIDDLE, ca=True)
    leaf = issue("leaf", below, dns=_NAMES)
    assert "may not issue the one below it" in fault([leaf, below, _MIDDLE, _ROOT], tlsa(_ROOT, 2))


@pytest.mark.parametrize(
    ("use", "words"), [(ExtendedKeyUsageOID.SERVER_AUTH, ""), (ExtendedKeyUsageOID.CODE_SIGNING, "is not for servers")]
)
def test_what_a_certificate_is_for(use: x509.ObjectIdentifier, words: str) -> None:
    leaf = issue("leaf", _ROOT, dns=_NAMES, extensions=((x509.ExtendedKeyUsage([use]), False),))
    assert words in fault([leaf, _ROOT], tlsa(_ROOT, 2))


def test_a_circle_ends() -> None:
    """Two authorities that have issued each other."""
    one = issue("One", ca=True)
    two = issue("Two", one, ca=True)
    again = issue("One", two, ca=True)
    leaf = issue("leaf", Made(again.certificate, again.key), dns=_NAMES)
    assert "matches none" in fault([leaf, again, two, one], tlsa(_ROOT, 2))


def test_nothing_to_judge() -> None:
    assert fault([], tlsa(_LEAF, 3)) == "the server showed no certificate"
    found = chain_fault([b"junk"], [tlsa(_ROOT, 2)], _NAMES, NOW)
    assert "cannot be read" in str(found)
