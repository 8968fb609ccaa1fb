# SPDX-License-Identifier: GPL-3.0-or-later
"""The watcher's settings, and what is said of bad ones."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from relay_agent.failover.settings import FailoverError, FailoverSettings, read_settings
from tests.unit.zone_server import KEY


def test_what_is_not_said_has_a_default(settings: FailoverSettings) -> None:
    assert (settings.port, settings.security) == (465, "implicit")
    assert (settings.failures, settings.successes, settings.timeout) == (3, 2, 5)
    assert settings.witness == ()


def test_from_standard_input(settings_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(settings_file.read_text()))
    assert read_settings(Path("-")).service == "mail.example.org"


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ('own = "relay1', 'own = "relay9', "relay9.example.org is not among the members"),
        ('"relay2.example.org"', '"RELAY1.example.org"', "two members have the same name"),
        ('"192.0.2.2"', '"192.0.2.1"', "two members have the same address"),
        ('"192.0.2.2"', '"192.0.2.256"', "member.1.addresses.0"),
        ("interval = 1", "interval = 0", "interval"),
        ("interval = 1", "intervall = 1", "intervall"),
        ("ttl = 30", "ttl = 0", "dns.ttl"),
        ("ttl = 30", 'key_algorithm = "hmac-md5"', "dns.key_algorithm"),
        ("[dns]", "[dns", "cannot be read"),
    ],
)
def test_bad_settings(settings_file: Path, before: str, after: str, said: str) -> None:
    settings_file.write_text(settings_file.read_text().replace(before, after))
    with pytest.raises(FailoverError) as caught:
        read_settings(settings_file)
    assert said in str(caught.value)
    assert KEY not in str(caught.value)


def test_no_settings(tmp_path: Path) -> None:
    with pytest.raises(FailoverError, match=r"does not exist: dns\.yml writes it"):
        read_settings(tmp_path / "none.toml")


def test_settings_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(FailoverError, match="by root only"):
        read_settings(tmp_path / "failover.toml")


def test_the_secret_is_not_shown(settings: FailoverSettings) -> None:
    assert KEY not in repr(settings)
