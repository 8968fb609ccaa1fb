# SPDX-License-Identifier: GPL-3.0-or-later
"""Nobody relays without signing in, and nobody signs in without the password."""

from collections.abc import Callable
from typing import Any

import pytest

RELAYS = ["relay1", "relay2"]
WRONG = "--auth PLAIN --auth-user alice --auth-password not-the-password"

Swaks = Callable[[str, str], Any]


@pytest.fixture(scope="module")
def swaks(laptop: Any) -> Swaks:
    """Runs swaks from the laptop against a relay, up to the recipient, and returns what happened."""
    ends = "--from alice@alpha.test --to someone@nullmx.test --quit-after RCPT --timeout 20"
    return lambda relay, options: laptop.run(f"swaks --server {relay}.postroad.test {ends} {options}")


@pytest.mark.parametrize("tls", ["--port 587 --tls", "--port 465 --tls-on-connect"], ids=["starttls", "implicit"])
@pytest.mark.parametrize("relay", RELAYS)
def test_no_sign_in_no_relaying(relay: str, tls: str, swaks: Swaks) -> None:
    outcome = swaks(relay, tls)
    assert outcome.rc in (23, 24), outcome.stdout
    assert "530 5.7.0" in outcome.stdout


@pytest.mark.parametrize("relay", RELAYS)
def test_a_wrong_password_is_refused(relay: str, swaks: Swaks) -> None:
    outcome = swaks(relay, f"--port 587 --tls {WRONG}")
    assert outcome.rc == 28, outcome.stdout
    assert "535 5.7.8" in outcome.stdout


@pytest.mark.parametrize("relay", RELAYS)
def test_an_unknown_name_is_refused_like_a_wrong_password(relay: str, swaks: Swaks) -> None:
    outcome = swaks(relay, f"--port 465 --tls-on-connect {WRONG.replace('alice', 'nobody')}")
    assert outcome.rc == 28, outcome.stdout
    assert "535 5.7.8" in outcome.stdout


@pytest.mark.parametrize("relay", RELAYS)
def test_no_password_in_the_clear(relay: str, swaks: Swaks, passwords: dict[str, str]) -> None:
    outcome = swaks(relay, f"--port 587 --auth PLAIN --auth-user alice --auth-password {passwords['alice']}")
    # Not even offered before STARTTLS.
    assert outcome.rc == 28, outcome.stdout
    assert "AUTH PLAIN" not in outcome.stdout


@pytest.mark.parametrize("relay", RELAYS)
def test_no_mail_in_the_clear(relay: str, swaks: Swaks) -> None:
    outcome = swaks(relay, "--port 587")
    assert outcome.rc == 23, outcome.stdout
    assert "530 5.7.0" in outcome.stdout
