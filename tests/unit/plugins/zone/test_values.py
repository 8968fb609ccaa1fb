# SPDX-License-Identifier: GPL-3.0-or-later
"""What an inventory has, on its way into the DNS: nothing in it may mean more than it says."""

import dns.rdata
import dns.rdataclass
import dns.rdatatype
import pytest
from ansible_collections.postroad.relay.plugins.plugin_utils.zone.values import (
    DnsValueError,
    absolute,
    canonical,
    host_text,
    ip_address,
    plain_text,
    reverse_name,
    text_value,
)
from dns.rdtypes.ANY.TXT import TXT


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("Relay.Example.ORG", "relay.example.org."),
        ("relay.example.org.", "relay.example.org."),
        ("_465._tcp.example.org", "_465._tcp.example.org."),
        ("bücher.example", "xn--bcher-kva.example."),
        ("straße.example", "xn--strae-oqa.example."),
        ("例え.テスト", "xn--r8jz45g.xn--zckzah."),
    ],
)
def test_names(name: str, found: str) -> None:
    assert absolute(name) == found


@pytest.mark.parametrize(
    "name",
    [
        "*.example.org",
        "example.org\nevil.example.org",
        "example.org. 60 IN A 192.0.2.66",
        'exam"ple.org',
        "exam\\ple.org",
        "(example.org",
        "example.org;",
        "$ORIGIN",
        "@",
        "",
        ".",
        "a..b",
        "-a.example",
        "a" * 64 + ".example",
        ".".join(["abcdefgh"] * 40),
        "example.org\u2028x",
        "exam\x00ple.org",
    ],
)
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(DnsValueError):
        absolute(name)


@pytest.mark.parametrize(
    "text",
    [
        "v=spf1 -all",
        'say "hello"',
        "back\\slash \\065 \\\\",
        "a;b(c)d @ $ORIGIN",
        "x" * 255,
        "x" * 256,
        "y" * 1000,
        '"' * 300,
        "\\" * 300,
        ('a"\\' * 200),
        "",
    ],
)
def test_a_text_comes_out_as_it_went_in(text: str) -> None:
    value = text_value(text)
    assert plain_text(value) == text
    rdata = dns.rdata.from_text(dns.rdataclass.IN, dns.rdatatype.TXT, value)
    assert isinstance(rdata, TXT)
    assert all(len(string) <= 255 for string in rdata.strings)
    assert b"".join(rdata.strings) == text.encode()
    assert "\n" not in value


@pytest.mark.parametrize("text", ["line\nend", "tab\tin", "null\x00", "ü", "\r"])
def test_what_is_no_text(text: str) -> None:
    with pytest.raises(DnsValueError, match="printable ASCII"):
        text_value(text)


@pytest.mark.parametrize("text", ["127.0.0.1", "::1", "0.0.0.0", "fe80::1", "224.0.0.1", "relay", "192.0.2.1/24", ""])
def test_what_is_no_address_for_others(text: str) -> None:
    with pytest.raises(DnsValueError):
        ip_address(text)


def test_reverse_names() -> None:
    assert reverse_name("192.0.2.1") == "1.2.0.192.in-addr.arpa."
    assert reverse_name("2001:db8::1") == "1" + ".0" * 23 + ".8.b.d.0.1.0.0.2.ip6.arpa."


def test_data_that_cannot_be() -> None:
    with pytest.raises(DnsValueError, match="cannot be the data of a SRV record"):
        canonical("SRV", "0 1 465 a.\nb.example.org. 60 IN A 192.0.2.66")


def test_a_server_in_a_script() -> None:
    assert host_text("NS1.example.org") == "ns1.example.org"
    assert host_text("127.0.0.1") == "127.0.0.1"
    with pytest.raises(DnsValueError):
        host_text("ns1\nupdate delete example.org")
