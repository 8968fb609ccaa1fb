# SPDX-License-Identifier: GPL-3.0-or-later
"""Which addresses are the relay's own."""

from __future__ import annotations

from typing import Any

import pytest

from relay_agent.config.schema import Config
from relay_agent.delivery.routing.own import own_addresses


def _config(**listener: Any) -> Config:
    return Config.model_validate(
        {
            "hostname": "relay.test",
            "listener": [{"port": 587, "tls": "none", "auth": "none"}, {"tls": "none", "auth": "none"} | listener],
            "delivery": {"smtp_port": 2526},
            "submission": {"trusted_networks": ["127.0.0.0/8"]},
        }
    )


def test_who_takes_no_mail_on_the_port_of_mx_hosts_is_nobodys_mail_host() -> None:
    assert own_addresses(_config(port=2525)) is None


@pytest.mark.parametrize(
    ("listening", "address", "expected"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("192.0.2.1", "127.0.0.1", False),
        ("0.0.0.0", "127.0.0.1", True),
        ("0.0.0.0", "192.0.2.1", False),
        ("::", "127.0.0.1", True),
        ("", "::1", True),
        ("", "2001:db8::1", False),
    ],
)
def test_addresses(listening: str, address: str, expected: bool) -> None:
    is_own = own_addresses(_config(port=2526, address=listening))
    assert is_own is not None
    assert is_own(address) is expected
