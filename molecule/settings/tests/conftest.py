# SPDX-License-Identifier: GPL-3.0-or-later
"""The traveller's machine with a browser's eyes, and Thunderbird on it."""

import json
import shlex
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from traffic.fixtures import AUTHORITY, STATE, compose, lab, mailboxes, on, passwords, relays, submit
from traffic.operator import play
from traffic.pages import Get, fetch

__all__ = ["compose", "lab", "mailboxes", "on", "passwords", "play", "relays", "submit"]

FILES = Path(__file__).resolve().parent.parent / "files"
_PEBBLE = "https://acme.postroad.test:15000/roots/0"
_POLICIES = {"policies": {"Certificates": {"Install": [AUTHORITY]}, "DisableAppUpdate": True, "DisableTelemetry": True}}


@pytest.fixture(scope="session")
def laptop(on: Callable[[str], Any]) -> Any:
    """It trusts the fleet's own authority for relay1, and Pebble for relay2 as others trust a public one."""
    host = on("laptop")
    own = (STATE / "private_ca/ca.pem").read_text()
    # Whoever may hand out the root is of no matter here.
    host.check_output(f"(printf %s {shlex.quote(own)}; curl --silent --fail --insecure {_PEBBLE}) > {AUTHORITY}")
    copy = ["tar", "-C", str(FILES), "-cf", "-", "."]
    with subprocess.Popen(copy, stdout=subprocess.PIPE) as packed:
        subprocess.run(
            ["ssh", "-F", str(STATE / "ssh/config"), "laptop", "mkdir -p /root/files && tar -C /root/files -xf -"],
            stdin=packed.stdout,
            check=True,
        )
    return host


@pytest.fixture(scope="session")
def get(laptop: Any) -> Get:
    """Asks for a page of a relay from the laptop."""
    return lambda relay, path, *options, scheme="https": fetch(
        laptop, AUTHORITY, f"{scheme}://{relay}.postroad.test{path}", *options
    )


@pytest.fixture(scope="session")
def thunderbird(laptop: Any) -> Any:
    """Runs a script in a Thunderbird whose owner has installed the authorities; gives what the script found."""
    policies = shlex.quote(json.dumps(_POLICIES))
    laptop.check_output(
        f"mkdir -p /etc/thunderbird/policies && printf %s {policies} > /etc/thunderbird/policies/policies.json && "
        # Policies install one certificate of a file.
        f"csplit -sf /root/authority- {AUTHORITY} '/BEGIN/' '{{*}}' && "
        f'sed -i \'s#"{AUTHORITY}"#"/root/authority-01", "/root/authority-02"#\' '
        "/etc/thunderbird/policies/policies.json"
    )
    laptop.check_output(
        "systemd-run --quiet --unit=thunderbird --setenv=HOME=/root --property=RuntimeMaxSec=300 "
        "thunderbird --headless --marionette --remote-allow-system-access --no-remote --profile $(mktemp -d)"
    )

    def run(script: str, *arguments: str) -> dict[str, Any]:
        words = ["python3", "/root/files/marionette.py", f"/root/files/{script}", *arguments]
        found: dict[str, Any] = json.loads(laptop.check_output(shlex.join(words)))
        return found

    yield run
    laptop.run("systemctl stop thunderbird")


@pytest.fixture(scope="session")
def eventually() -> Callable[[Callable[[], bool]], bool]:
    """Whether something comes true within 20 seconds."""

    def wait(true: Callable[[], bool]) -> bool:
        deadline = time.monotonic() + 20
        while not true():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.3)
        return True

    return wait
