# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import base64
import datetime as dt
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID

from relay_agent.probe.statement import StatementError, key_of, make_statement, read_statement

NOW = 1_800_000_000.0
PORTS = [(587, "starttls"), (465, "implicit")]


def pair(key: Any) -> tuple[bytes, bytes]:
    """Certificate and key in PEM."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "relay.test")])
    begin = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(begin)
        .not_valid_after(begin + dt.timedelta(days=9000))
    )
    certificate = built.sign(key, None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256())
    return certificate.public_bytes(serialization.Encoding.PEM), key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


@pytest.fixture(scope="module")
def elliptic() -> tuple[bytes, bytes]:
    return pair(ec.generate_private_key(ec.SECP256R1()))


@pytest.mark.parametrize(
    "make",
    [
        lambda: ec.generate_private_key(ec.SECP384R1()),
        lambda: rsa.generate_private_key(65537, 2048),
        ed25519.Ed25519PrivateKey.generate,
    ],
)
def test_what_was_signed_is_read(make: Any) -> None:
    chain, key = pair(make())
    read = read_statement(make_statement("relay.test", PORTS, chain, key, NOW), NOW + 60)
    assert (read.host, read.ports) == ("relay.test", ((587, "starttls"), (465, "implicit")))
    assert read.key == key_of(x509.load_pem_x509_certificate(chain).public_bytes(serialization.Encoding.DER))


def test_what_was_changed_on_the_way_is_refused(elliptic: tuple[bytes, bytes]) -> None:
    content, signature, certificate = make_statement("relay.test", PORTS, *elliptic, NOW).split(".")
    altered = base64.urlsafe_b64decode(content + "==").replace(b'[587,"starttls"]', b'[25,"none"]')
    forged = base64.urlsafe_b64encode(altered).decode().rstrip("=")
    with pytest.raises(StatementError):
        read_statement(f"{forged}.{signature}.{certificate}", NOW)
    # Somebody else's signature and certificate make it somebody else's statement, and that is visible by its key.
    other = read_statement(
        make_statement("relay.test", PORTS, *pair(ec.generate_private_key(ec.SECP256R1())), NOW), NOW
    )
    assert other.key != read_statement(f"{content}.{signature}.{certificate}", NOW).key


def test_a_statement_is_for_a_day_and_clocks_may_be_wrong_by_another(elliptic: tuple[bytes, bytes]) -> None:
    text = make_statement("relay.test", PORTS, *elliptic, NOW)
    for now in (NOW - 80_000, NOW + 170_000):
        assert read_statement(text, now).at == NOW
    for now in (NOW - 90_000, NOW + 180_000):
        with pytest.raises(StatementError, match="clock"):
            read_statement(text, now)


@pytest.mark.parametrize("text", ["", "a.b", "a.b.c", "....", "é.é.é", "A" * 40_000, "W10.W10.W10", "e30.AA.AA"])
def test_anything_else_is_an_error_in_words(text: str) -> None:
    with pytest.raises(StatementError, match="not a statement of a relay"):
        read_statement(text, NOW)


@pytest.mark.parametrize(
    "change",
    [
        '"ports":[[Infinity,"starttls"]]',
        f'"at":1{"0" * 400}',
        f'"ports":{"[" * 9000}{"]" * 9000}',
    ],
)
def test_numbers_beyond_all_bounds_are_no_statement(elliptic: tuple[bytes, bytes], change: str) -> None:
    chain, key = elliptic
    certificate = x509.load_pem_x509_certificate(chain).public_bytes(serialization.Encoding.DER)
    said = f'{{"v":1,"host":"a","ports":[],"key":"{key_of(certificate)}","at":1,"until":2,{change}}}'.encode()
    signer = serialization.load_pem_private_key(key, None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    parts = (said, signer.sign(said, ec.ECDSA(hashes.SHA256())), certificate)
    text = ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)
    with pytest.raises(StatementError):
        read_statement(text, NOW)


def test_a_certificate_of_a_version_that_there_is_none_of_is_no_statement(elliptic: tuple[bytes, bytes]) -> None:
    content, signature, certificate = make_statement("relay.test", PORTS, *elliptic, NOW).split(".")
    der = base64.urlsafe_b64decode(certificate + "=" * (-len(certificate) % 4))
    other = der.replace(bytes.fromhex("a003020102"), bytes.fromhex("a003020107"), 1)
    with pytest.raises(StatementError):
        read_statement(".".join((content, signature, base64.urlsafe_b64encode(other).decode().rstrip("="))), NOW)
