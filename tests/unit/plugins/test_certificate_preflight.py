# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults of relay_tls_certificate that show before the host is touched."""

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.postroad.relay.plugins.plugin_utils.certificate import CertificateError
from ansible_collections.postroad.relay.plugins.plugin_utils.certificate_preflight import certificate_problems
from ansible_collections.postroad.relay.plugins.plugin_utils.private_ca import PrivateCa

from tests.unit.plugins.certificates import issue, openssl, request_in

HOST = "relay.example.org"
DEFAULTS: dict[str, Any] = {
    "mode": "private_ca",
    "names": [],
    "source": "controller",
    "certificate": None,
    "key": None,
}
PROVIDED = {"mode": "provided", "certificate": "chain", "key": "key"}


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A directory with a good pair, `chain` and `key`."""
    directory = tmp_path / "files"
    issue(PrivateCa.open_or_create(tmp_path / "ca"), directory, [HOST])
    return directory


def problems(files: Path, hostname: str = HOST, **wanted: Any) -> list[str]:
    def read(name: str) -> str:
        try:
            return (files / name).read_text()
        except FileNotFoundError:
            raise CertificateError(f"{name} does not exist on the controller") from None

    return list(certificate_problems({**DEFAULTS, **wanted}, hostname, read))


def test_private_authority_needs_no_file(tmp_path: Path) -> None:
    assert problems(tmp_path / "none") == []
    assert problems(tmp_path / "none", names=["mail.example.org", HOST]) == []


def test_names_without_the_hosts_own(tmp_path: Path) -> None:
    assert problems(tmp_path, names=["a.example", "b.example"]) == [
        f"relay_tls_certificate.names: a.example, b.example leaves out {HOST}, the name that clients connect to"
    ]


def test_good_pair(files: Path) -> None:
    assert problems(files, **PROVIDED) == []


@pytest.mark.parametrize("given", [{}, {"certificate": "chain"}, {"key": "key"}])
def test_each_missing_name_is_told(files: Path, given: dict[str, str]) -> None:
    missing = [key for key in ("certificate", "key") if key not in given]
    assert problems(files, mode="provided", **given) == [
        f"relay_tls_certificate.{key}: is missing (mode provided takes the file's name here)" for key in missing
    ]


def test_files_on_the_host_are_not_looked_for_here(files: Path) -> None:
    wanted: dict[str, Any] = {
        "mode": "provided",
        "source": "host",
        "certificate": "/etc/other/chain",
        "key": "/etc/other/key",
    }
    assert problems(files, **wanted) == []
    assert len(problems(files, **wanted | {"key": None})) == 1


def test_both_files_are_looked_for(files: Path) -> None:
    assert problems(files, mode="provided", certificate="no.pem", key="no.key") == [
        "relay_tls_certificate.certificate: no.pem does not exist on the controller",
        "relay_tls_certificate.key: no.key does not exist on the controller",
    ]


def test_certificate_is_judged_even_without_its_key(files: Path) -> None:
    assert problems(files, "other.example", mode="provided", certificate="chain", key="no.key") == [
        "relay_tls_certificate.key: no.key does not exist on the controller",
        f"relay_tls_certificate.certificate: chain is for {HOST}, not for other.example",
    ]


def test_certificate_must_be_for_every_name(files: Path) -> None:
    assert problems(files, names=[HOST, "mail.example.org"], **PROVIDED) == [
        f"relay_tls_certificate.certificate: chain is for {HOST}, not for mail.example.org"
    ]


def test_key_of_another(files: Path) -> None:
    request_in(files)
    assert problems(files, **PROVIDED) == ["relay_tls_certificate.key: key does not belong to chain"]


def test_what_is_no_pem_is_told_without_its_content(files: Path) -> None:
    (files / "chain").write_text("not-a-certificate")
    assert problems(files, **PROVIDED)[0].startswith("relay_tls_certificate: chain holds no certificate in PEM form")
    issue(PrivateCa.open_or_create(files.parent / "ca"), files, [HOST])
    (files / "key").write_text("s3cret")
    (problem,) = problems(files, **PROVIDED)
    assert problem.startswith("relay_tls_certificate: key holds no private key without a passphrase")
    assert "s3cret" not in problem


def test_key_with_a_passphrase(files: Path) -> None:
    openssl("pkey", "-in", "key", "-aes256", "-passout", "pass:s3cret", "-out", "locked", directory=files)
    (problem,) = problems(files, **PROVIDED | {"key": "locked"})
    assert problem.startswith("relay_tls_certificate: locked holds no private key without a passphrase")
