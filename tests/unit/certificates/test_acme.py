# SPDX-License-Identifier: GPL-3.0-or-later
"""What lego is told, and what is made of its answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from relay_agent.certificates.acme import issue, lego_command, lego_environment
from relay_agent.certificates.chain import new_key
from relay_agent.certificates.problem import CertificateError
from relay_agent.certificates.settings import CertificateSettings

NAME = "relay.example.org"


def settings(**more: Any) -> CertificateSettings:
    acme = {"directory_url": "https://acme.example/dir", "email": "me@example.org", **more.pop("acme", {})}
    return CertificateSettings.model_validate({"names": [NAME], "acme": acme, **more})


DNS = {"server": "2001:db8::53", "key_name": "relay", "key_secret": "c2VjcmV0"}


def test_by_port_80() -> None:
    command = lego_command(settings(), Path("/state"), Path("/csr"))
    assert command[-4:] == ["--http", "--http.port", ":80", "run"]
    assert lego_environment(settings()) == {}


def test_by_a_web_server_at_port_80_as_soon_as_it_has_the_port(tmp_path: Path) -> None:
    wanted = settings(acme={"webroot": str(tmp_path / "acme")})
    shared = lego_command(wanted, Path("/state"), Path("/csr"), lambda: False)
    assert shared[-4:] == ["--http", "--http.webroot", str(tmp_path / "acme"), "run"]
    first = lego_command(wanted, Path("/state"), Path("/csr"), lambda: True)
    assert first[-4:] == ["--http", "--http.port", ":80", "run"]
    issue(wanted, new_key(), tmp_path, Lego(tmp_path, (0, "")))
    assert (tmp_path / "acme").stat().st_mode & 0o777 == 0o755


def test_by_dns_no_secret_is_in_the_command() -> None:
    wanted = settings(acme={"challenge": "dns"}, dns=DNS)
    assert "c2VjcmV0" not in " ".join(lego_command(wanted, Path("/state"), Path("/csr")))
    environment = lego_environment(wanted)
    assert environment["RFC2136_NAMESERVER"] == "[2001:db8::53]:53"
    assert environment["RFC2136_TSIG_KEY"] == "relay."
    assert environment["RFC2136_TTL"] == "1"
    assert environment["RFC2136_TSIG_ALGORITHM"] == "hmac-sha256."
    assert environment["RFC2136_TSIG_SECRET"] == "c2VjcmV0"


class Lego:
    """Answers in turns."""

    def __init__(self, state: Path, *answers: tuple[int, str]) -> None:
        self.state = state
        self.answers = list(answers)
        self.asked: list[str] = []

    def __call__(self, command: Sequence[str], _: dict[str, str]) -> tuple[int, str]:
        csr = Path(command[command.index("--csr") + 1])
        self.asked.append(csr.read_text())
        status, said = self.answers.pop(0)
        if status == 0:
            (self.state / "certificates").mkdir()
            (self.state / "certificates" / f"{NAME}.crt").write_text("the chain")
            (self.state / "certificates" / f"{NAME}.issuer.crt").write_text("the issuer")
        return status, said


def test_a_chain_for_a_request_of_ours(tmp_path: Path) -> None:
    (tmp_path / "certificates").mkdir()
    (tmp_path / "certificates" / "earlier.crt").write_text("an earlier one")
    lego = Lego(tmp_path, (0, ""))
    assert issue(settings(), new_key(), tmp_path, lego) == "the chain"
    names = x509.load_pem_x509_csr(lego.asked[0].encode()).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    assert names.value.get_values_for_type(x509.DNSName) == [NAME]


def test_the_reason_is_what_lego_says_last(tmp_path: Path) -> None:
    said = (
        "2026/11/28 18:24:47 [INFO] acme: Registering account\n"
        "2026/11/28 18:24:47 Saved key to somewhere\n"
        "2026/11/28 18:24:48 Could not obtain certificates:\n\terror: connection refused\n"
    )
    with pytest.raises(CertificateError) as caught:
        issue(settings(), new_key(), tmp_path, Lego(tmp_path, (1, said)))
    assert str(caught.value) == (
        "no certificate from https://acme.example/dir: Could not obtain certificates: error: connection refused"
    )


def test_an_account_that_the_authority_has_forgotten_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "accounts").mkdir()
    lego = Lego(tmp_path, (1, "urn:ietf:params:acme:error:accountDoesNotExist"), (0, ""))
    assert issue(settings(), new_key(), tmp_path, lego) == "the chain"
    assert not (tmp_path / "accounts").exists()


def test_lego_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CertificateError, match="install the package lego"):
        issue(settings(), new_key(), tmp_path)
