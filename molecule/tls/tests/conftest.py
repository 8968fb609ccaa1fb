# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's hosts, and certificates as a mail program meets them."""

import json
import re
import time
from collections.abc import Callable
from typing import Any

import pytest
from traffic.fixtures import AUTHORITY, compose, lab, mailboxes, on, passwords, relays, submit
from traffic.operator import play
from traffic.relays import LISTENERS, Relay

__all__ = ["compose", "lab", "mailboxes", "on", "passwords", "play", "relays", "submit"]

_ROOT = "https://acme.postroad.test:15000/roots/0"
_RENEWALS = "/etc/postroad/tls/renewal.json"


@pytest.fixture(scope="session")
def laptop(on: Callable[[str], Any]) -> Any:
    """The traveller's machine, which trusts Pebble as others trust a public authority."""
    host = on("laptop")
    # Whoever may hand out the root is of no matter here.
    host.check_output(f"curl --silent --fail --insecure --output {AUTHORITY} {_ROOT}")
    return host


@pytest.fixture(scope="session")
def shown(laptop: Any) -> Callable[..., str]:
    """Gives the fingerprint of the certificate that a relay shows on a port; it must hold for the relay's name."""

    def fingerprint(relay: str, port: int = 465) -> str:
        name = f"{relay}.postroad.test"
        begins = "-starttls smtp" if LISTENERS[port] == "starttls" else ""
        trust = f"-CAfile {AUTHORITY} -verify_return_error -verify_hostname {name}"
        text = laptop.check_output(
            f"openssl s_client -connect {name}:{port} -servername {name} {begins} {trust} </dev/null 2>/dev/null "
            "| openssl x509 -noout -fingerprint -sha256"
        )
        return str(text).rpartition("=")[2].replace(":", "").lower()

    return fingerprint


@pytest.fixture(scope="session")
def certificate(relays: dict[str, Relay]) -> Callable[[str], dict[str, Any]]:
    """What ``relay-agent certificate show`` says on a relay."""

    def show(relay: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(relays[relay].host.run("relay-agent certificate show --json").stdout)
        return found

    return show


@pytest.fixture(scope="session")
def status(relays: dict[str, Relay]) -> Callable[[str], dict[str, Any]]:
    """What ``relay-agent status`` says of a relay's certificate."""

    def ask(relay: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(relays[relay].host.check_output("relay-agent status --json"))["certificate"]
        return found

    return ask


@pytest.fixture(scope="session")
def make_due(relays: dict[str, Relay]) -> Callable[[str], None]:
    """Has a relay take its certificate for one that was had elsewhere, so that the timer's service renews it."""

    def forget(relay: str) -> None:
        relays[relay].host.check_output(f'sed -i \'s/"issued": "[0-9a-f]*"/"issued": ""/\' {_RENEWALS}')

    return forget


@pytest.fixture(scope="session")
def timer_strikes(relays: dict[str, Relay]) -> Callable[[str], bool]:
    """Does what the timer does; whether the service was content."""
    return lambda relay: bool(relays[relay].host.run("systemctl start relay-certificate.service").rc == 0)


@pytest.fixture(scope="session")
def said(relays: dict[str, Relay]) -> Callable[[str, str], list[dict[str, Any]]]:
    """The events of a name in the log of a relay's renewals."""

    def events(relay: str, name: str) -> list[dict[str, Any]]:
        # The service has ended, but journald takes in what it wrote when it comes to it; --sync waits for that.
        log = relays[relay].host.check_output(
            "journalctl --sync && journalctl --output=cat --unit=relay-certificate.service"
        )
        lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
        return [line for line in lines if line.get("event") == name]

    return events


@pytest.fixture(scope="session")
def issued(on: Callable[[str], Any]) -> Callable[[], int]:
    """How many certificates the authority has issued."""
    count = "journalctl --sync && journalctl --unit=pebble.service --grep='Issued certificate' | wc -l"
    return lambda: int(on("acme").check_output(count))


@pytest.fixture(scope="session")
def tlsa(laptop: Any) -> Callable[[str], set[str]]:
    """The keys that DNS has for a name."""

    def look(name: str) -> set[str]:
        lines = laptop.check_output(f"dig +short TLSA {name}").splitlines()
        return {re.sub(r"^3 1 1 |\s", "", line).lower() for line in lines}

    return look


@pytest.fixture(scope="session")
def eventually() -> Callable[[Callable[[], bool]], bool]:
    """Whether something comes true within half a minute."""

    def wait(true: Callable[[], bool]) -> bool:
        deadline = time.monotonic() + 30
        while not true():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.5)
        return True

    return wait
