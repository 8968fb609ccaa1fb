# SPDX-License-Identifier: GPL-3.0-or-later
import contextlib
import datetime as dt
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from relay_agent.config.certificate import validity
from tests.integration.certificates import make_certificate


@pytest.mark.parametrize("days", [-3, 1, 10_000])  # the last one ends after 2050, which is written in another way
def test_the_dates_are_those_that_the_library_reads(tmp_path: Path, days: float) -> None:
    pem = make_certificate(tmp_path, "relay.test", days=days).certificate.read_text()
    known = x509.load_pem_x509_certificate(pem.encode())
    assert validity(pem) == (known.not_valid_before_utc, known.not_valid_after_utc)
    assert validity("Subject: ...\n" + pem + pem)[1].tzinfo is dt.UTC


@given(st.binary(max_size=200))
def test_any_bytes_are_judged(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        validity(ssl.DER_cert_to_PEM_cert(data))


def test_a_certificate_cut_short_anywhere(tmp_path: Path) -> None:
    der = ssl.PEM_cert_to_DER_cert(make_certificate(tmp_path, "relay.test").certificate.read_text())
    for length in range(0, 120, 7):
        with pytest.raises(ValueError, match="damaged"):
            validity(ssl.DER_cert_to_PEM_cert(der[:length]))
