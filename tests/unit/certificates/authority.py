# SPDX-License-Identifier: GPL-3.0-or-later
"""An authority in this process: it signs requests, for as long as a test wants."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from relay_agent.certificates.chain import request

__all__ = ["NOW", "chain_for"]

NOW = datetime(2026, 5, 1, tzinfo=UTC)
_KEY = ec.generate_private_key(ec.SECP256R1())


def chain_for(key: str, *names: str, begins: datetime = NOW, days: float = 90) -> str:
    """A certificate for a key (PEM) and names, in PEM."""
    asked = x509.load_pem_x509_csr(request(key, names).encode())
    alternatives = asked.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    builder = x509.CertificateBuilder(
        issuer_name=x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "An authority")]),
        subject_name=asked.subject,
        public_key=asked.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=begins,
        not_valid_after=begins + timedelta(days=days),
    )
    signed = builder.add_extension(alternatives, critical=False).sign(_KEY, hashes.SHA256())
    return signed.public_bytes(Encoding.PEM).decode()
