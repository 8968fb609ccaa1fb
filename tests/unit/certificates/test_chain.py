# SPDX-License-Identifier: GPL-3.0-or-later
"""What a chain says, and that keys, requests and certificates fit together."""

from __future__ import annotations

import hashlib
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from relay_agent.certificates.chain import key_digest, new_key, read_key, read_leaf, request
from relay_agent.certificates.problem import CertificateError
from tests.unit.certificates.authority import NOW, chain_for


def test_a_leaf() -> None:
    key = new_key()
    leaf = read_leaf(chain_for(key, "Relay.example.org", "192.0.2.7"))
    assert leaf.names == {"relay.example.org", "192.0.2.7"}
    assert (leaf.begins, leaf.lifetime) == (NOW, timedelta(days=90))
    assert leaf.issuer == "CN=An authority"
    assert leaf.key == key_digest(key)


def test_the_digest_is_that_of_tlsa_3_1_1() -> None:
    key = new_key()
    public = read_key(key).public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert key_digest(key) == hashlib.sha256(public).hexdigest()


def test_only_the_first_certificate_counts() -> None:
    ours, other = chain_for(new_key(), "a.example"), chain_for(new_key(), "b.example")
    assert read_leaf(ours + other).names == {"a.example"}


def test_a_request_has_the_names_and_is_signed() -> None:
    asked = x509.load_pem_x509_csr(request(new_key(), ["a.example", "2001:db8::7"]).encode())
    names = asked.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["a.example"]
    assert [str(each) for each in names.get_values_for_type(x509.IPAddress)] == ["2001:db8::7"]
    assert asked.is_signature_valid


@pytest.mark.parametrize("text", ["", "nonsense", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_what_is_no_certificate(text: str) -> None:
    with pytest.raises(CertificateError, match="no certificate in PEM form"):
        read_leaf(text)


def test_a_damaged_key_is_not_repeated() -> None:
    with pytest.raises(CertificateError) as caught:
        read_key("-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n")
    assert "c2VjcmV0" not in str(caught.value)
