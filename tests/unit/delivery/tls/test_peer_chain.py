# SPDX-License-Identifier: GPL-3.0-or-later
"""The chain of a real handshake, in memory."""

from __future__ import annotations

import ssl
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from relay_agent.delivery.tls.peer_chain import peer_chain
from tests.integration.authority import make_authority


def _handshake(certificate: Path, key: Path) -> ssl.SSLObject:
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(certificate, key)
    client_side = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client_side.check_hostname = False
    client_side.verify_mode = ssl.CERT_NONE
    one, other = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = server_side.wrap_bio(one, other, server_side=True)
    client = client_side.wrap_bio(other, one, server_hostname="mx.example.org")
    for _ in range(3):
        for side in (client, server):
            with suppress(ssl.SSLWantReadError):
                side.do_handshake()
    return client


def test_the_whole_chain_in_its_order(tmp_path: Path) -> None:
    authority = make_authority(tmp_path)
    files = authority.issue("mx.example.org")
    chain = peer_chain(_handshake(files.certificate, files.key))
    written = x509.load_pem_x509_certificates(files.certificate.read_bytes())
    assert chain == [each.public_bytes(Encoding.DER) for each in written]
    assert len(chain) == 2


def test_other_versions_of_python(tmp_path: Path) -> None:
    """3.13 has a method; should both be missing one day, the server's own certificate is left."""
    newer: Any = SimpleNamespace(get_unverified_chain=lambda: [b"leaf", b"issuer"])
    assert peer_chain(cast(ssl.SSLObject, newer)) == [b"leaf", b"issuer"]
    none: Any = SimpleNamespace(get_unverified_chain=lambda: None)
    assert peer_chain(cast(ssl.SSLObject, none)) == []
    bare: Any = SimpleNamespace(getpeercert=lambda binary_form: b"leaf" if binary_form else {})
    assert peer_chain(cast(ssl.SSLObject, bare)) == [b"leaf"]
