# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults of relay_tls_certificate that show before the host is touched."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.postroad.relay.plugins.plugin_utils.certificates.certificate import CertificateError
from ansible_collections.postroad.relay.plugins.plugin_utils.certificates.preflight import certificate_problems
from ansible_collections.postroad.relay.plugins.plugin_utils.certificates.private_ca import PrivateCa

from tests.unit.plugins.issued import issue, openssl, request_in

HOST = "relay.example.org"
DEFAULTS: dict[str, Any] = {
    "mode": "private_ca",
    "names": [],
    "source": "controller",
    "certificate": None,
    "key": None,
    "acme": None,
    "dns": None,
    "tlsa": False,
}
PROVIDED = {"mode": "provided", "certificate": "chain", "key": "key"}


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A directory with a good pair, `chain` and `key`."""
    directory = tmp_path / "files"
    issue(PrivateCa.open_or_create(tmp_path / "ca"), directory, [HOST])
    return directory


def problems(files: Path, hostname: str = HOST, **wanted: Any) -> list[str]:
    ports = wanted.pop("ports", ())

    def read(name: str) -> str:
        try:
            return (files / name).read_text()
        except FileNotFoundError:
            raise CertificateError(f"{name} does not exist on the controller") from None

    return list(certificate_problems({**DEFAULTS, **wanted}, hostname, read, ports))


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


ACME = {
    "directory_url": "https://acme.example/dir",
    "email": "me@example.org",
    "challenge": "http",
    "ca": None,
}
SERVER = {"server": "192.0.2.53", "key_name": "relay", "key_secret": "c2VjcmV0"}


def acme(files: Path, ports: Collection[int] = (587,), *, names: Collection[str] = (), **wanted: Any) -> list[str]:
    options = {key: wanted.pop(key) for key in ("dns", "tlsa") if key in wanted}
    chosen = [HOST, *names] if names else []
    return problems(files, ports=ports, mode="acme", names=chosen, acme={**ACME, **wanted}, **options)


def test_acme(files: Path) -> None:
    assert acme(files) == []
    assert acme(files, ports=[80], challenge="dns", dns=SERVER, tlsa=True, names=["*.example.org"]) == []
    assert acme(files, ca="chain") == []


def test_a_listener_at_port_80_and_the_challenge_that_needs_it(files: Path) -> None:
    assert acme(files, ports=[587, 80]) == [
        "relay_tls_certificate.acme.challenge: http needs port 80, and a listener in relay_agent_listeners has it; "
        "take that listener to another port, share the port with relay_settings (web), or choose the challenge dns"
    ]


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"email": "me"}, "acme.email: 'me' is not an e-mail address"),
        ({"directory_url": "http://acme.example"}, "acme.directory_url: 'http://acme.example' is no address that"),
        ({"ca": "none"}, "acme.ca: none does not exist on the controller"),
        ({"challenge": "dns"}, "dns: is missing (the challenge dns writes a record"),
        ({"names": ["*.example.org"]}, "names: *.example.org can be had by the challenge dns only"),
        ({"dns": {**SERVER, "key_secret": "no base64!"}}, "dns.key_secret: is not in base64"),
    ],
)
def test_faults_of_acme(files: Path, wanted: dict[str, Any], said: str) -> None:
    (problem,) = acme(files, **wanted)
    assert problem.startswith(f"relay_tls_certificate.{said}")
    assert "no base64!" not in problem


def test_acme_without_its_table(files: Path) -> None:
    (problem,) = problems(files, mode="acme")
    assert problem.startswith("relay_tls_certificate.acme: is missing")


@pytest.mark.parametrize("option", [{"acme": ACME}, {"dns": SERVER}, {"tlsa": True}])
def test_what_is_for_acme_alone(files: Path, option: dict[str, Any]) -> None:
    (name,) = option
    assert problems(files, **option) == [f"relay_tls_certificate.{name}: is for mode acme, and the mode is private_ca"]
