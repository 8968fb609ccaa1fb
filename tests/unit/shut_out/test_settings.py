# SPDX-License-Identifier: GPL-3.0-or-later
"""What the service is told, and what it says of what it cannot use."""

from ipaddress import ip_network
from pathlib import Path

import pytest

from relay_agent.shut_out.settings import Settings, SettingsError, read_settings


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "shut-out.json"
    path.write_text('{"after_shut_outs": 2, "never": ["198.51.100.0/24", "2001:db8::1"]}')
    never = (ip_network("198.51.100.0/24"), ip_network("2001:db8::1"))
    assert read_settings(path) == Settings(after_shut_outs=2, never=never)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "not JSON"),
        ("[]", "expected an object"),
        ('{"after": 1}', "unknown key after"),
        ('{"after_accounts": 0}', "after_accounts is 0, expected a number from 1 to 1000"),
        ('{"within": true}', "within is True"),
        ('{"at_most": "1h"}', "at_most is '1h'"),
        ('{"never": "198.51.100.1"}', "expected a list"),
        ('{"never": ["198.51.100.1/24"]}', "has host bits set"),
    ],
)
def test_what_is_bad_is_named(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "shut-out.json"
    path.write_text(text)
    with pytest.raises(SettingsError, match=problem) as raised:
        read_settings(path)
    assert str(path) in str(raised.value)
