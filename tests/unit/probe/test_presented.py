# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates as strangers show them."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from relay_agent.probe.attempt import Shown
from relay_agent.probe.presented import presented
from tests.integration.certificates import make_certificate

KEY = ec.generate_private_key(ec.SECP256R1())
NAMES = x509.SubjectAlternativeName([x509.DNSName("relay.test")])


@pytest.fixture
def der(tmp_path: Path) -> bytes:
    pem = make_certificate(tmp_path, "relay.test").certificate.read_bytes()
    return x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)


def test_one_that_is_well_made_is_read(der: bytes) -> None:
    read = presented(Shown("", der, "TLSv1.3"))
    assert (read.problem, read.names) == ("", ("relay.test",))
    assert len(read.key) == 64


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (bytes.fromhex("a003020102"), bytes.fromhex("a003020107")),  # a version that there is none of
        (bytes.fromhex("06072a8648ce3d0201"), bytes.fromhex("06072a8648ce3d027f")),  # a key of an unknown kind
        (b"\x30", b"\x31"),
    ],
)
def test_one_that_is_made_up_has_a_problem_and_stops_nothing(der: bytes, old: bytes, new: bytes) -> None:
    assert old in der
    read = presented(Shown("", der.replace(old, new, 1), "TLSv1.3"))
    assert read.problem.startswith("cannot be read: ")
    assert read.key == ""


def test_one_with_two_lists_of_names_and_a_name_without_end() -> None:
    begin = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "x" * 60)] * 99)
    other = x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.126"), NAMES.public_bytes())
    made = x509.CertificateBuilder(name, name, KEY.public_key(), 1, begin, begin + dt.timedelta(days=9))
    made = made.add_extension(NAMES, critical=False).add_extension(other, critical=False)
    raw = made.sign(KEY, hashes.SHA256()).public_bytes(Encoding.DER)
    assert len(presented(Shown("", raw, "")).subject) <= 200
    twice = raw.replace(bytes.fromhex("0603551d7e"), bytes.fromhex("0603551d11"))
    assert presented(Shown("", twice, "")).problem.startswith("cannot be read: ")
