# SPDX-License-Identifier: GPL-3.0-or-later
"""certificate.toml, and what is said where it is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from relay_agent.certificates.problem import CertificateError
from relay_agent.certificates.settings import read_settings

GOOD = """
names = ["relay.example.org"]
[acme]
directory_url = "https://acme.example/dir"
email = "me@example.org"
"""
SERVER = '[dns]\nserver = "192.0.2.53"\nkey_name = "relay"\nkey_secret = "c2VjcmV0"\n'


def read(tmp_path: Path, text: str) -> object:
    path = tmp_path / "certificate.toml"
    path.write_text(text)
    return read_settings(path)


def test_defaults(tmp_path: Path) -> None:
    path = tmp_path / "certificate.toml"
    path.write_text(GOOD + SERVER)
    settings = read_settings(path)
    assert (settings.renew_before, settings.tlsa, settings.acme.challenge) == (30, False, "http")
    assert settings.dns is not None
    assert (settings.dns.port, settings.dns.key_algorithm, settings.dns.ttl) == (53, "hmac-sha256", 3600)
    assert "c2VjcmV0" not in repr(settings)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("names = [", "cannot be read"),
        (GOOD.replace("https:", "http:"), "acme.directory_url"),
        (GOOD.replace("me@example.org", "me"), "acme.email"),
        (GOOD + 'challenge = "dns"\n', "needs the section dns"),
        (GOOD + SERVER + "ttl = 0\n", "dns.ttl"),
        (GOOD + SERVER + 'key = "c2VjcmV0"\n', "dns.key"),
    ],
)
def test_faults_without_the_secret(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(CertificateError, match=said) as caught:
        read(tmp_path, text)
    assert "c2VjcmV0" not in str(caught.value)


def test_none_at_all(tmp_path: Path) -> None:
    with pytest.raises(CertificateError, match="not renewed here, but by the playbook"):
        read_settings(tmp_path / "none.toml")
