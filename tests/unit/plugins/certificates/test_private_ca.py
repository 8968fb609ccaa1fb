# SPDX-License-Identifier: GPL-3.0-or-later
"""The private authority, held against openssl: what it signs, what it refuses, and when a host needs another."""

import subprocess
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.postroad.relay.plugins.plugin_utils.certificates.certificate import (
    CertificateError,
    describe,
    names_of,
)
from ansible_collections.postroad.relay.plugins.plugin_utils.certificates.private_ca import (
    PrivateCa,
    renewal_reason,
    subject_for,
)
from cryptography import x509

from tests.unit.plugins.issued import NAMES, issue, openssl, request_in

MONTH = timedelta(days=30)


@pytest.fixture
def host(tmp_path: Path) -> Path:
    return tmp_path / "host"


@pytest.fixture
def authority(tmp_path: Path) -> PrivateCa:
    return PrivateCa.open_or_create(tmp_path / "ca")


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


def test_no_authority_to_read_yet(tmp_path: Path) -> None:
    assert PrivateCa.read_certificate(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_key_out_of_a_vault(authority: PrivateCa, tmp_path: Path) -> None:
    """The file holds what only the reader can open."""
    key = tmp_path / "ca" / "ca.key"
    plain = key.read_bytes()
    key.write_bytes(plain[::-1])
    with pytest.raises(CertificateError, match=r"ca\.key holds no private key without a passphrase"):
        PrivateCa.open_or_create(tmp_path / "ca")
    opened = PrivateCa.open_or_create(tmp_path / "ca", read_key=lambda path: path.read_bytes()[::-1])
    assert opened.certificate == authority.certificate


def test_damaged_authority_is_not_replaced(authority: PrivateCa, tmp_path: Path) -> None:
    (tmp_path / "ca" / "ca.pem").write_text("nonsense")
    with pytest.raises(CertificateError, match=r"ca\.pem holds no certificate in PEM form"):
        PrivateCa.open_or_create(tmp_path / "ca")


def test_nothing_half_written_is_left(authority: PrivateCa, tmp_path: Path) -> None:
    assert {path.name for path in (tmp_path / "ca").iterdir()} == {".gitignore", ".lock", "ca.key", "ca.pem"}


def test_authority_vouches_for_servers_alone(authority: PrivateCa, host: Path, tmp_path: Path) -> None:
    """People install it on their devices: it makes no further authorities, no clients and no code."""
    issue(authority, host, NAMES)
    verify = ["openssl", "verify", "-purpose", "sslclient", "-CAfile", "ca/ca.pem", "host/chain"]
    assert subprocess.run(verify, cwd=tmp_path, capture_output=True, check=False).returncode != 0
    shown = openssl("x509", "-in", "ca/ca.pem", "-noout", "-ext", "basicConstraints,keyUsage", directory=tmp_path)
    assert "CA:TRUE, pathlen:0" in shown
    assert "Certificate Sign, CRL Sign" in shown


@pytest.mark.parametrize(
    ("domains", "names", "trusted"),
    [
        (["192.0.2.0/24"], ["192.0.2.7"], True),
        (["192.0.2.0/24"], ["198.51.100.7"], False),
        (["192.0.2.0/24"], ["relay.example.org"], False),
        (["example.org", "192.0.2.0/24"], ["relay.example.org", "192.0.2.7"], True),
        (["example.org", "192.0.2.0/24"], ["2001:db8::7"], False),
    ],
)
def test_bound_to_networks(tmp_path: Path, host: Path, domains: list[str], names: list[str], trusted: bool) -> None:
    issue(PrivateCa.open_or_create(tmp_path / "bound", domains=domains), host, names)
    verify = ["openssl", "verify", "-CAfile", "bound/ca.pem", "host/chain"]
    done = subprocess.run(verify, cwd=tmp_path, capture_output=True, check=False)
    assert (done.returncode == 0) is trusted


def test_bound_to_what_is_no_name(tmp_path: Path) -> None:
    with pytest.raises(CertificateError, match="'a b' is neither a host name nor an address"):
        PrivateCa.open_or_create(tmp_path / "bound", domains=["a b"])
    assert not (tmp_path / "bound" / "ca.key").exists()


def test_request_that_was_tampered_with(authority: PrivateCa, host: Path) -> None:
    """A request for another's key, without that key to sign it."""
    lines = request_in(host).splitlines()
    lines[-2] = lines[-2][:-12] + "A" * 8 + lines[-2][-4:]
    with pytest.raises(CertificateError, match="the host's request is not"):
        authority.sign("\n".join(lines), NAMES, 30)


def test_names_of_the_request_do_not_count(authority: PrivateCa, host: Path) -> None:
    request_in(host)
    subject = ["-subj", "/CN=evil.example", "-addext", "subjectAltName=DNS:evil.example"]
    request = openssl("req", "-new", "-key", "key", *subject, directory=host)
    certificate = x509.load_pem_x509_certificate(authority.sign(request, ["relay.example.org"], 30).encode())
    assert names_of(certificate) == ["relay.example.org"]
    assert "evil" not in certificate.subject.rfc4514_string()


def test_name_too_long_for_a_subject(authority: PrivateCa, host: Path, tmp_path: Path) -> None:
    """RFC 5280, 4.2.1.6: without a subject the alternative names are critical."""
    name = "a" * 60 + ".relay.example.org"
    certificate = issue(authority, host, [name])
    assert len(certificate.subject) == 0
    assert certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).critical
    verify = ["verify", "-x509_strict", "-CAfile", "ca/ca.pem", "-verify_hostname", name, "host/chain"]
    assert "host/chain: OK" in openssl(*verify, directory=tmp_path)


def test_one_cut_short_by_its_authority_is_kept(authority: PrivateCa, host: Path) -> None:
    """Another would end on the same day: renewing it at each run would never end."""
    certificate = issue(authority, host, NAMES, 9999)
    late = authority.certificate.not_valid_after_utc - timedelta(days=3)
    reason = renewal_reason(
        certificate, authority.certificate, names=NAMES, key_matches=True, renew_before=MONTH, now=late
    )
    assert reason is None


@pytest.mark.parametrize(
    ("names", "subject"),
    [
        (["relay.example.org", "mail.example.org"], "CN=relay.example.org"),
        (["192.0.2.7", "relay.example.org"], "CN=relay.example.org"),
        (["192.0.2.7"], ""),
        (["a" * 60 + ".example.org"], ""),
    ],
)
def test_subject_is_a_host_name_that_fits(names: list[str], subject: str) -> None:
    assert subject_for(names).rfc4514_string() == subject
