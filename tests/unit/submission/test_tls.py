# SPDX-License-Identifier: GPL-3.0-or-later
import ssl
from pathlib import Path

import pytest

from relay_agent.config.schema import Tls
from relay_agent.submission.tls import server_context
from tests.integration.certificates import make_certificate


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
