# SPDX-License-Identifier: GPL-3.0-or-later
"""What a certificate says, and whether it serves."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from ansible_collections.postroad.relay.plugins.plugin_utils.certificates.certificate import (
    CertificateError,
    check_provided,
    covers,
    describe,
    parse_chain,
    private_key_matches,
)
from ansible_collections.postroad.relay.plugins.plugin_utils.certificates.private_ca import PrivateCa

from tests.unit.plugins.issued import NAMES, issue, request_in


@pytest.fixture
def host(tmp_path: Path) -> Path:
    return tmp_path / "host"


@pytest.fixture
def authority(tmp_path: Path) -> PrivateCa:
    return PrivateCa.open_or_create(tmp_path / "ca")


@pytest.mark.parametrize(
    ("offered", "name", "covered"),
    [
        ("relay.example.org", "relay.example.org", True),
        ("relay.example.org", "RELAY.example.org", True),
        ("*.example.org", "relay.example.org", True),
        ("*.example.org", "a.relay.example.org", False),
        ("*.example.org", "example.org", False),
        ("192.0.2.7", "192.0.2.7", True),
        ("2001:db8::7", "2001:0db8:0::7", True),
        ("xn--bcher-kva.example", "bücher.example", True),
    ],
)
def test_names_covered(authority: PrivateCa, host: Path, offered: str, name: str, covered: bool) -> None:
    assert covers(issue(authority, host, [offered]), name) is covered


def test_provided_certificate_is_judged(authority: PrivateCa, host: Path) -> None:
    certificate = issue(authority, host, ["relay.example.org"], 100)
    now = datetime.now(UTC)
    good = check_provided(certificate, ["relay.example.org"])
    assert (good.errors, good.warnings) == ([], [])
    assert (
        "is for relay.example.org, not for mail.example.org" in check_provided(certificate, ["mail.example.org"]).errors
    )
    assert "in 19 days" in check_provided(certificate, [], now + timedelta(days=80, hours=1)).warnings[0]
    assert check_provided(certificate, [], now + timedelta(days=101)).errors[0].startswith("expired on")
    assert check_provided(certificate, [], now - timedelta(days=2)).errors[0].startswith("is not valid before")


def test_key_and_certificate(authority: PrivateCa, host: Path) -> None:
    certificate = issue(authority, host, NAMES)
    assert private_key_matches(certificate, (host / "key").read_text(), "key")
    request_in(host)
    assert not private_key_matches(certificate, (host / "key").read_text(), "key")
    with pytest.raises(CertificateError, match="upload holds no private key"):
        private_key_matches(certificate, "nonsense", "upload")


@pytest.mark.parametrize("name", ["", "a b", "relay.example.org\nx", "x" * 64 + ".example"])
def test_what_is_no_name(authority: PrivateCa, host: Path, name: str) -> None:
    with pytest.raises(CertificateError, match=r"relay_tls_certificate\.names"):
        issue(authority, host, [name])


def test_what_is_no_certificate() -> None:
    with pytest.raises(CertificateError, match=r"chain\.pem holds no certificate"):
        parse_chain("nonsense", "chain.pem")


def test_description_shows_no_key(authority: PrivateCa, host: Path) -> None:
    text = describe(issue(authority, host, NAMES))
    assert [line.partition(":")[0] for line in text.splitlines()] == [
        "subject",
        "names",
        "issuer",
        "not after",
        "sha256",
    ]
