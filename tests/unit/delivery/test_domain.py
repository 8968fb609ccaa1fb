# SPDX-License-Identifier: GPL-3.0-or-later
"""Domains and addresses as they go on the wire."""

from __future__ import annotations

import pytest

from relay_agent.delivery.domain import ascii_address, ascii_domain, literal_address


@pytest.mark.parametrize(
    ("domain", "ascii_form"),
    [
        ("Example.ORG", "example.org"),
        ("example.org.", "example.org"),
        ("b\u00fccher.example", "xn--bcher-kva.example"),
        ("B\u00dcCHER.example", "xn--bcher-kva.example"),
        ("bu\u0308cher.example", "xn--bcher-kva.example"),
        ("fa\u00df.de", "xn--fa-hia.de"),
        ("\u4f8b\u3048\u3002\u30c6\u30b9\u30c8", "xn--r8jz45g.xn--zckzah"),
        ("_dmarc.example", "_dmarc.example"),
    ],
)
def test_domains(domain: str, ascii_form: str) -> None:
    assert ascii_domain(domain) == ascii_form


@pytest.mark.parametrize(
    "domain",
    [
        "",
        ".",
        "a..b",
        "-a.example",
        "a b.example",
        "a\r\nQUIT.example",
        "x" * 64 + ".example",
        ".".join(["x" * 60] * 5),
        "\u2603.example",
        "\u00fc" * 70 + ".example",
        "\u0301a.example",
        "[192.0.2.1]",
        "a/b.example",
        "ex\u202eample.example",
    ],
)
def test_what_is_no_domain(domain: str) -> None:
    with pytest.raises(ValueError, match="domain"):
        ascii_domain(domain)


def test_addresses() -> None:
    assert ascii_address("bob@B\u00fccher.example") == "bob@xn--bcher-kva.example"
    assert ascii_address("Bob@Example.org") == "Bob@Example.org"
    assert ascii_address("b\u00f6b@example.org") is None


def test_literals() -> None:
    assert literal_address("[192.0.2.1]") == "192.0.2.1"
    assert literal_address("[IPv6:2001:DB8::1]") == "2001:db8::1"
    assert literal_address("example.org") is None
    for bad in ("[192.0.2.256]", "[2001:db8::1]", "[192.0.2.1", "[]", "[example.org]"):
        with pytest.raises(ValueError, match="not an address literal"):
            literal_address(bad)
