# SPDX-License-Identifier: GPL-3.0-or-later
"""The private authority and the judgement of certificates, held against openssl's own."""

import subprocess
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.postroad.relay.plugins.plugin_utils.certificate import (
    CertificateError,
    check_provided,
    covers,
    describe,
    names_of,
    parse_chain,
    private_key_matches,
)
from ansible_collections.postroad.relay.plugins.plugin_utils.private_ca import PrivateCa, renewal_reason
from cryptography import x509

NAMES = ["relay.example.org", "192.0.2.7", "2001:db8::7"]
MONTH = timedelta(days=30)


def openssl(*args: str, directory: Path) -> str:
    """Run openssl in `directory`; its failure fails the test."""
    done = subprocess.run(["openssl", *args], cwd=directory, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def request_in(directory: Path) -> str:
    """A key and a request made as a host makes them."""
    directory.mkdir(exist_ok=True)
    openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", "key", directory=directory)
    return openssl("req", "-new", "-key", "key", "-subj", "/CN=relay", directory=directory)


@pytest.fixture
def host(tmp_path: Path) -> Path:
    return tmp_path / "host"


@pytest.fixture
def authority(tmp_path: Path) -> PrivateCa:
    return PrivateCa.open_or_create(tmp_path / "ca")


def issue(authority: PrivateCa, host: Path, names: list[str], days: int = 365) -> x509.Certificate:
    pem = authority.sign(request_in(host), names, days)
    (host / "chain").write_text(pem)
    return parse_chain(pem, "test")[0]


@pytest.mark.parametrize("how", [["-verify_hostname", "relay.example.org"], ["-verify_ip", "2001:db8::7"]])
def test_openssl_trusts_what_the_authority_signs(
    authority: PrivateCa, host: Path, tmp_path: Path, how: list[str]
) -> None:
    issue(authority, host, NAMES)
    verify = ["verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", "ca/ca.pem", *how, "host/chain"]
    assert "host/chain: OK" in openssl(*verify, directory=tmp_path)


def test_key_of_the_authority_is_for_its_owner(authority: PrivateCa, tmp_path: Path) -> None:
    assert (tmp_path / "ca" / "ca.key").stat().st_mode & 0o777 == 0o600
    assert "ca.key" in (tmp_path / "ca" / ".gitignore").read_text()


def test_authority_is_made_once(authority: PrivateCa, tmp_path: Path) -> None:
    assert PrivateCa.open_or_create(tmp_path / "ca").certificate == authority.certificate


def fingerprint_of_authority(directory: Path) -> str:
    return describe(PrivateCa.open_or_create(directory).certificate)


def test_many_processes_make_one_authority(tmp_path: Path) -> None:
    with ProcessPoolExecutor(4) as pool:
        assert len(set(pool.map(fingerprint_of_authority, [tmp_path / "new"] * 8))) == 1


def test_authority_without_its_key(authority: PrivateCa, tmp_path: Path) -> None:
    (tmp_path / "ca" / "ca.key").unlink()
    with pytest.raises(CertificateError, match=r"ca\.key: the authority's key is not there"):
        PrivateCa.open_or_create(tmp_path / "ca")


def test_key_without_its_authority_is_not_written_over(authority: PrivateCa, tmp_path: Path) -> None:
    (tmp_path / "ca" / "ca.pem").unlink()
    with pytest.raises(CertificateError, match=r"ca\.key is there and ca\.pem is not"):
        PrivateCa.open_or_create(tmp_path / "ca")


def test_authority_with_the_key_of_another(authority: PrivateCa, tmp_path: Path) -> None:
    PrivateCa.open_or_create(tmp_path / "other")
    (tmp_path / "other" / "ca.key").replace(tmp_path / "ca" / "ca.key")
    with pytest.raises(CertificateError, match=r"is not the key of ca\.pem"):
        PrivateCa.open_or_create(tmp_path / "ca")


@pytest.mark.parametrize(
    ("names", "trusted"),
    [
        (["relay.example.org"], True),
        (["relay.example.net"], False),
        (["relay.example.org", "192.0.2.7"], False),
    ],
)
def test_bound_authority(tmp_path: Path, host: Path, names: list[str], trusted: bool) -> None:
    authority = PrivateCa.open_or_create(tmp_path / "bound", domains=["example.org"])
    issue(authority, host, names)
    done = subprocess.run(
        ["openssl", "verify", "-CAfile", "bound/ca.pem", "host/chain"], cwd=tmp_path, capture_output=True, check=False
    )
    assert (done.returncode == 0) is trusted


def test_certificate_ends_with_the_authority(authority: PrivateCa, host: Path) -> None:
    assert issue(authority, host, NAMES, 9999).not_valid_after_utc == authority.certificate.not_valid_after_utc


def test_an_expired_authority_signs_nothing(authority: PrivateCa, host: Path) -> None:
    later = datetime.now(UTC) + timedelta(days=4000)
    with pytest.raises(CertificateError, match="the authority expired on"):
        authority.sign(request_in(host), NAMES, 30, now=later)


def test_what_is_not_a_request(authority: PrivateCa) -> None:
    with pytest.raises(CertificateError, match="the host's request is not one"):
        authority.sign("nonsense", NAMES, 30)


def test_good_certificate_is_kept(authority: PrivateCa, host: Path) -> None:
    certificate = issue(authority, host, NAMES)
    assert names_of(certificate) == sorted(NAMES)
    for names in (NAMES, NAMES[::-1]):
        reason = renewal_reason(certificate, authority.certificate, names=names, key_matches=True, renew_before=MONTH)
        assert reason is None


def test_reasons_to_renew(authority: PrivateCa, host: Path, tmp_path: Path) -> None:
    certificate, ca = issue(authority, host, NAMES), authority.certificate
    other = PrivateCa.open_or_create(tmp_path / "other").certificate
    late = datetime.now(UTC) + timedelta(days=340)

    def reason(present: x509.Certificate | None, issuer: x509.Certificate | None, **changes: Any) -> str | None:
        usual: dict[str, Any] = {"names": NAMES, "key_matches": True, "renew_before": MONTH, **changes}
        return renewal_reason(present, issuer, **usual)

    assert reason(None, ca) == "there is none"
    assert reason(certificate, other) == reason(certificate, None) == "it is not from this authority"
    assert reason(certificate, ca, key_matches=False) == "the key beside it is another's"
    assert "it is for 192.0.2.7" in (reason(certificate, ca, names=["relay.example.org"]) or "")
    assert "it ends on" in (reason(certificate, ca, now=late) or "")


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
