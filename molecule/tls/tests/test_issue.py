# SPDX-License-Identifier: GPL-3.0-or-later
"""The first certificate: by port 80 on relay1, by a record in DNS on relay2."""

from collections.abc import Callable
from typing import Any

import pytest
from traffic.mail_programs import Submission
from traffic.mailboxes import Mailboxes
from traffic.relays import Relay

RELAYS = ["relay1", "relay2"]


@pytest.mark.parametrize("relay", RELAYS)
def test_mail_programs_trust_it(
    relay: str, shown: Callable[[str], str], certificate: Callable[[str], dict[str, Any]]
) -> None:
    found = certificate(relay)
    assert found["good"]
    assert found["names"] == [f"{relay}.postroad.test"]
    assert "Pebble" in found["issuer"]
    assert shown(relay) == found["sha256"]


@pytest.mark.parametrize("relay", RELAYS)
def test_mail_flows(
    relay: str,
    compose: Callable[..., Submission],
    submit: Callable[[Submission], Any],
    mailboxes: Mailboxes,
) -> None:
    submission = compose(relay, port=465)
    outcome = submit(submission)
    assert outcome.rc == 0, outcome.stdout + outcome.stderr
    assert mailboxes.wait_for([submission.token], seconds=30)[submission.token] == 1


@pytest.mark.parametrize("relay", RELAYS)
def test_the_timer_waits(relay: str, relays: dict[str, Relay]) -> None:
    timer = relays[relay].host.service("relay-certificate.timer")
    assert timer.is_enabled
    assert timer.is_running


@pytest.mark.parametrize("relay", RELAYS)
def test_keys_are_for_nobody_else(relay: str, relays: dict[str, Relay]) -> None:
    host = relays[relay].host
    rights = {
        name: (host.file(name).mode, host.file(name).group)
        for name in (
            "/etc/postroad/tls/current/privkey.pem",
            "/etc/postroad/tls/next/privkey.pem",
            "/etc/postroad/certificate.toml",
        )
    }
    assert list(rights.values()) == [(0o640, "postroad"), (0o600, "root"), (0o600, "root")]


def test_port_80_is_open_only_where_it_is_needed(relays: dict[str, Relay]) -> None:
    rules = {name: relay.host.check_output("nft list table inet postroad") for name, relay in relays.items()}
    assert {name: "dport 80 " in text or " 80," in text for name, text in rules.items()} == {
        "relay1": True,
        "relay2": False,
    }
