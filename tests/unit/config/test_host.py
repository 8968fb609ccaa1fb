# SPDX-License-Identifier: GPL-3.0-or-later
import os
import tempfile
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from relay_agent.accounts.hashing import DUMMY_HASH
from relay_agent.accounts.store import Account, render
from relay_agent.config.load import ConfigError, inspect_config, load_config
from relay_agent.dkim.keys import Algorithm, KeyState, make_key, render_key
from tests.integration.certificates import make_certificate

NOW = datetime(2026, 11, 24, tzinfo=UTC)


@dataclass
class Host:
    """A host with everything in place that the configuration names."""

    root: Path
    certificate: Path
    key: Path
    accounts: Path
    secret: Path
    config: Path

    def problems(self) -> dict[str, str]:
        return {problem.key: problem.problem for problem in inspect_config(self.config).problems}

    def warnings(self) -> dict[str, str]:
        return {problem.key: problem.problem for problem in inspect_config(self.config).warnings}


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return make_host(tmp_path)


def make_host(root: Path) -> Host:
    files = make_certificate(root, "relay.test", days=90)
    host = Host(root, files.certificate, files.key, root / "accounts.toml", root / "secret", root / "agent.toml")
    host.accounts.write_text(render({"alice": Account("alice", DUMMY_HASH)}))
    host.secret.write_text("s3cret\n")
    host.secret.chmod(0o600)
    (root / "queue").mkdir()
    host.config.write_text(f"""
        hostname = "relay.test"
        [[listener]]
        port = 587
        tls = "starttls"
        [tls]
        certificate = "{host.certificate}"
        key = "{host.key}"
        [accounts]
        file = "{host.accounts}"
        [queue]
        directory = "{root}/queue"
        [dkim]
        directory = "{root}/dkim"
        [[route]]
        domains = ["*"]
        via = [{{ host = "a.test", username = "u", password_file = "{host.secret}", ca_file = "{host.certificate}" }}]
        """)
    return host


def test_nothing_to_say_of_a_good_host(host: Host) -> None:
    inspection = inspect_config(host.config)
    assert (inspection.problems, inspection.warnings) == ((), ())
    assert load_config(host.config) == inspection.config


def test_every_missing_file_is_named_at_once(host: Host) -> None:
    for path in (host.certificate, host.key, host.accounts, host.secret):
        path.unlink()
    found = host.problems()
    assert set(found) == {
        "tls.certificate",
        "tls.key",
        "accounts.file",
        "route[0].via[0].password_file",
        "route[0].via[0].ca_file",
    }
    assert found["tls.key"] == f"{host.key} does not exist"
    assert "relay-agent account add" in found["accounts.file"]
    with pytest.raises(ConfigError) as caught:
        load_config(host.config)
    assert f"{host.config}: tls.certificate: {host.certificate} does not exist" in str(caught.value).splitlines()


def test_a_key_of_another_certificate(host: Host) -> None:
    host.key.write_bytes(make_certificate(host.root, "other.test").key.read_bytes())
    assert host.problems() == {"tls.key": f"{host.key} is not the key of the certificate {host.certificate}"}


def test_a_key_with_a_passphrase_is_told_and_nobody_asked(host: Host) -> None:
    key = serialization.load_pem_private_key(host.key.read_bytes(), None)
    host.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"hidden"),
        )
    )
    assert "protected by a passphrase" in host.problems()["tls.key"]


@pytest.mark.parametrize(
    "content", [b"", b"\0" * 5000, b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]
)
def test_a_key_that_is_none(host: Host, content: bytes) -> None:
    host.key.write_bytes(content)
    assert "cannot be used together" in host.problems()["tls.key"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "there is no certificate in it"),
        (b"\xff\0" * 5000, "there is no certificate in it"),
        (b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n", "is damaged"),
        (b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n", "is damaged"),
    ],
)
def test_a_certificate_that_is_none(host: Host, content: bytes, words: str) -> None:
    host.certificate.write_bytes(content)
    assert words in host.problems()["tls.certificate"]


@pytest.mark.parametrize(("days", "words"), [(-1, "expired on "), (10, "in 9 days")])
def test_the_end_of_a_certificate_is_told_and_does_not_stop_the_agent(host: Host, days: float, words: str) -> None:
    files = make_certificate(host.root, "relay.test", days=days)
    assert files.certificate == host.certificate
    assert words in host.warnings()["tls.certificate"]
    load_config(host.config)


@pytest.mark.parametrize("content", ["", "\n", "\nlater\n"])
def test_a_password_file_without_a_password(host: Host, content: str) -> None:
    host.secret.write_text(content)
    assert "nothing in its first line" in host.problems()["route[0].via[0].password_file"]


def test_secrets_that_everybody_can_read(host: Host) -> None:
    host.secret.chmod(0o644)
    host.key.chmod(0o644)
    assert set(host.warnings()) == {"tls.key", "route[0].via[0].password_file"}


def test_faults_of_the_accounts_are_told_with_their_entry(host: Host) -> None:
    host.accounts.write_text("[[account]]\nname = 'bob'\n")
    assert "account[0] ('bob'): hash is missing" in host.problems()["accounts.file"]


def test_no_accounts_are_missed_where_nobody_signs_in(host: Host) -> None:
    host.accounts.unlink()
    text = host.config.read_text().replace('"starttls"', '"starttls"\nauth = "none"')
    host.config.write_text(text + '[submission]\ntrusted_networks = ["10.0.0.0/8"]\n')
    assert host.problems() == {}


def test_a_queue_that_is_a_file(host: Host) -> None:
    (host.root / "queue").rmdir()
    (host.root / "queue").write_text("")
    assert "is not a directory" in host.problems()["queue.directory"]


def signing(host: Host, *, settings: str = "", mode: int = 0o640) -> Path:
    """A signing key of alpha.test on the host, and further lines for [dkim]."""
    path = host.root / "dkim/alpha.test/s.pem"
    path.parent.mkdir(parents=True)
    path.write_bytes(render_key(replace(make_key("alpha.test", "s", Algorithm.ED25519, NOW), state=KeyState.ACTIVE)))
    path.chmod(mode)
    host.config.write_text(host.config.read_text().replace("[dkim]", f"[dkim]\n{settings}"))
    return path


def test_a_signing_key_that_is_good(host: Host) -> None:
    signing(host, settings='domains = ["Alpha.test"]')
    inspection = inspect_config(host.config)
    assert (inspection.problems, inspection.warnings) == ((), ())


def test_a_signing_key_that_is_damaged(host: Host) -> None:
    path = signing(host)
    path.write_text("nothing")
    assert host.problems() == {"dkim": f"{path}: holds no key (expected PEM, -----BEGIN PRIVATE KEY-----)"}


def test_a_domain_that_is_to_sign_and_has_no_key(host: Host) -> None:
    signing(host, settings='domains = ["alpha.test", "beta.test"]')
    assert "relay-agent dkim new beta.test" in host.warnings()["dkim.domains[1]"]
    assert host.problems() == {}


def test_signing_keys_for_everybody(host: Host) -> None:
    path = signing(host, mode=0o644)
    host.config.write_text(host.config.read_text() + '[submission]\nsender_check = "off"\n')
    warnings = host.warnings()
    assert warnings["dkim"].startswith(f"{path} can be read by every user")
    assert "signed all the same" in warnings["submission.sender_check"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to become another user")
def test_what_another_user_may_not_read() -> None:
    with tempfile.TemporaryDirectory() as directory:
        host = make_host(Path(directory))
        host.root.chmod(0o711)
        host.config.chmod(0o644)
        host.accounts.chmod(0o600)
        inspect_config(host.config)  # imports what it needs while it may
        os.seteuid(65534)
        try:
            problems, warnings = host.problems(), host.warnings()
        finally:
            os.seteuid(0)
    assert problems["tls.key"] == f"{host.key} may not be read by the current user"
    assert problems["accounts.file"].startswith(f"{host.accounts}: permission denied")
    assert f"{host.root}/queue cannot be written" in warnings["queue.directory"]


def test_the_authorities_of_client_certificates_are_looked_at(host: Host) -> None:
    text = host.config.read_text()
    for content, problem in (
        (None, "{file} does not exist"),
        ("nothing", "{file} holds no certificate (expected the authority's in PEM)"),
        (host.certificate.read_text(), None),
    ):
        file = host.root / "people.pem"
        if content is not None:
            file.write_text(content)
        host.config.write_text(text.replace("[accounts]", f'client_ca = "{file}"\n[accounts]'))
        expected = {} if problem is None else {"tls.client_ca": problem.format(file=file)}
        assert host.problems() == expected


def test_the_files_of_the_identity_provider_are_looked_at(host: Host) -> None:
    keys, authority = host.root / "keys.json", host.root / "provider.pem"
    provider = '[oauth]\nissuer = "https://login.test/"\naudience = ["x"]\n'
    text = host.config.read_text()
    host.config.write_text(f'{text}\n{provider}jwks_file = "{keys}"\nca_file = "{authority}"\n')
    assert host.problems() == {
        "oauth.jwks_file": f"{keys} does not exist",
        "oauth.ca_file": f"{authority} does not exist",
    }
    keys.write_text('{"keys": []}')
    authority.write_text(host.certificate.read_text())
    assert host.problems() == {}


def test_the_files_of_a_hop_are_looked_at(host: Host) -> None:
    token = 'token_url = "https://id.test/t", client_id = "c", client_secret_file = "/missing/s"'
    files = 'refresh_token_file = "/missing/r", token_ca_file = "/missing/ca"'
    pool = f"""
[[route]]
senders = ["a.test"]
via = [
  {{ host = "b.test", username = "u", {token}, {files} }},
  {{ host = "c.test", username = "u", token_command = ["/missing/program"] }},
  {{ host = "d.test", client_certificate = "/missing/c", client_key = "/missing/k" }},
  {{ host = "e.test", client_certificate = "{host.certificate}", client_key = "{host.secret}" }},
]
[[route]]"""
    host.config.write_text(host.config.read_text().replace("[[route]]", pool, 1))
    found = host.problems()
    assert set(found) == {
        f"route[0].via[{key}"
        for key in (
            "0].client_secret_file",
            "0].refresh_token_file",
            "0].token_ca_file",
            "1].token_command",
            "2].client_certificate",
            "2].client_key",
            "3].client_key",
        )
    }
    assert "may run" in found["route[0].via[1].token_command"]
    assert "cannot be used together" in found["route[0].via[3].client_key"]
