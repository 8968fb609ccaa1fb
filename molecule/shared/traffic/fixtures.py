# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures of every scenario: the lab's hosts as the tests see them, over SSH like the operator."""

import itertools
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import testinfra
from lab.topology import Lab, load_lab

from traffic.mail_programs import Submission, command_line
from traffic.mailboxes import Mailboxes
from traffic.relays import LISTENERS, Relay

__all__ = ["CHECKOUT", "STATE", "compose", "lab", "laptop", "mailboxes", "on", "passwords", "power", "relays", "submit"]

CHECKOUT = Path(__file__).resolve().parents[3]
# POSTROAD_LAB=up runs the tests against the lab of `make up`, while they are being written.
LAB = os.environ.get("POSTROAD_LAB", "test")
STATE = CHECKOUT / ".lab" / LAB
AUTHORITY = "/root/relay-authority.pem"


@pytest.fixture(scope="session")
def lab() -> Lab:
    """Names and addresses of every host."""
    return load_lab(CHECKOUT / "molecule/shared/topology.toml", LAB)


@pytest.fixture(scope="session")
def on() -> Callable[[str], Any]:
    """Gives the testinfra host of a name."""
    return lambda name: testinfra.get_host(f"ssh://{name}", ssh_config=str(STATE / "ssh/config"))


@pytest.fixture(scope="session")
def laptop(on: Callable[[str], Any]) -> Any:
    """The traveller's machine, which trusts the relays' authority."""
    host = on("laptop")
    certificate = (STATE / "private_ca/ca.pem").read_text()
    host.check_output(f"printf %s '{certificate}' > {AUTHORITY}")
    return host


@pytest.fixture(scope="session")
def mailboxes(on: Callable[[str], Any]) -> Mailboxes:
    """What arrived."""
    return Mailboxes(on("mx"))


@pytest.fixture(scope="session")
def relays(on: Callable[[str], Any], lab: Lab) -> dict[str, Relay]:
    """The relays by name."""
    return {name: Relay(on(name)) for name, host in lab.hosts.items() if "relays" in host.groups}


@pytest.fixture(scope="session")
def passwords() -> dict[str, str]:
    """The accounts' passwords, as drawn when the lab was made."""
    accounts: dict[str, str] = json.loads((STATE / "secrets.yml").read_text())["accounts"]
    return accounts


@pytest.fixture(scope="session")
def compose() -> Callable[..., Submission]:
    """Makes a submission that can be followed; what is not said takes turns or is the most common."""
    numbers = itertools.count()
    run = secrets.token_hex(4)

    def one(
        relay: str,
        *,
        port: int = 587,
        program: str = "swaks",
        recipient: str | None = None,
        sender_domain: str = "alpha.test",
        domain: str = "beta.test",
    ) -> Submission:
        token = f"{run}-{next(numbers)}"
        return Submission(
            relay=f"{relay}.postroad.test",
            port=port,
            tls=LISTENERS[port],
            program=program,
            account="alice",
            sender=f"alice+{token}@{sender_domain}",
            recipient=recipient or f"bob+{token}@{domain}",
            token=token,
        )

    return one


@pytest.fixture(scope="session")
def submit(laptop: Any, passwords: dict[str, str]) -> Callable[[Submission], Any]:
    """Submits from the laptop; returns what the mail program said and its exit status."""
    return lambda submission: laptop.run(command_line(submission, passwords[submission.account], AUTHORITY))


@pytest.fixture(scope="session")
def power() -> Callable[..., None]:
    """Switches hosts: ``power("restart", "relay1", "--hard")``."""

    def switch(action: str, host: str, *options: str) -> None:
        command = [sys.executable, "-m", "lab", action, "--lab", LAB, host, *options]
        environment = {**os.environ, "PYTHONPATH": str(CHECKOUT / "molecule/shared")}
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)

    return switch
