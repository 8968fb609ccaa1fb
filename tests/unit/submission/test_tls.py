# SPDX-License-Identifier: GPL-3.0-or-later
import ssl
from pathlib import Path

import pytest
from cryptography.x509 import RFC822Name

from relay_agent.config.schema import Tls
from relay_agent.submission.tls import handshake_problem, server_context
from tests.integration.certificates import Authority, make_certificate


def handshake(server: ssl.SSLContext, client: ssl.SSLContext) -> str | None:
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_hostname="relay.test"),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    for _ in range(6):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return ends[0].version()


@pytest.mark.parametrize(
    ("version", "name"), [(ssl.TLSVersion.TLSv1_2, "TLSv1.2"), (ssl.TLSVersion.TLSv1_3, "TLSv1.3")]
)
def test_modern_versions_are_served(tmp_path: Path, version: ssl.TLSVersion, name: str) -> None:
    files = make_certificate(tmp_path, "relay.test")
    client = ssl.create_default_context(cafile=str(files.certificate))
    client.minimum_version = client.maximum_version = version
    assert handshake(server_context(Tls(certificate=files.certificate, key=files.key)), client) == name


def test_weak_ciphers_are_not(tmp_path: Path) -> None:
    files = make_certificate(tmp_path, "relay.test")
    client = ssl.create_default_context(cafile=str(files.certificate))
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    client.set_ciphers("ECDHE+AES:!AESGCM:@SECLEVEL=0")
    with pytest.raises(ssl.SSLError):
        handshake(server_context(Tls(certificate=files.certificate, key=files.key)), client)


def test_a_key_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    ours, other = make_certificate(tmp_path, "relay.test"), make_certificate(tmp_path, "other.test")
    with pytest.raises(ssl.SSLError):
        server_context(Tls(certificate=ours.certificate, key=other.key))


def contexts(directory: Path, client_ca: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    files = make_certificate(directory, "relay.test")
    server = server_context(Tls(certificate=files.certificate, key=files.key, client_ca=client_ca))
    client = ssl.create_default_context(cafile=str(files.certificate))
    client.maximum_version = ssl.TLSVersion.TLSv1_2  # where a client learns of its fault in the handshake
    return server, client


def test_a_certificate_is_asked_for_and_not_demanded(tmp_path: Path) -> None:
    people = Authority(tmp_path / "people")
    server, client = contexts(tmp_path, people.certificate)
    assert (server.verify_mode, server.num_tickets) == (ssl.CERT_OPTIONAL, 1)
    assert handshake(server, client)
    own = people.issue("Alice", [RFC822Name("alice@a.test")])
    client.load_cert_chain(own.certificate, own.key)
    assert handshake(server, client)


def test_an_authority_below_another_is_trusted_as_it_stands(tmp_path: Path) -> None:
    """So that a company can name its own authority below a public one, and no other below that."""
    own = Authority(tmp_path / "people").issue("Alice", [RFC822Name("alice@a.test")])
    server, client = contexts(tmp_path, own.certificate)
    client.load_cert_chain(own.certificate, own.key)
    assert handshake(server, client)


def test_certificates_are_held_against_the_revocation_lists_in_the_file(tmp_path: Path) -> None:
    people = Authority(tmp_path / "people")
    gone, good = people.issue("a"), people.issue("b")
    both = tmp_path / "both.pem"
    both.write_text(people.certificate.read_text() + people.revocation_list(gone))
    for own, problem in ((gone, "certificate revoked"), (good, "")):
        server, client = contexts(tmp_path, both)
        client.load_cert_chain(own.certificate, own.key)
        if problem:
            with pytest.raises(ssl.SSLCertVerificationError) as caught:
                handshake(server, client)
            assert (
                handshake_problem(caught.value)
                == f"the client's certificate was refused: {problem} (see tls.client_ca)"
            )
        else:
            assert handshake(server, client)


def test_other_faults_keep_their_name() -> None:
    assert handshake_problem(ConnectionResetError(104, "Connection reset by peer")).endswith("Connection reset by peer")
    assert handshake_problem(TimeoutError()) == "TimeoutError"
