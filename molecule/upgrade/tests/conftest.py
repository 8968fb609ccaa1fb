# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's hosts, playbooks as the operator runs them, and the mail of this scenario."""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from lab.topology import Lab
from traffic.fixtures import CHECKOUT, STATE, lab, mailboxes, on, power, relays
from traffic.mailboxes import Mailboxes
from traffic.relays import Relay

__all__ = ["lab", "mailboxes", "on", "power", "relays"]

_SCENARIO = CHECKOUT / "molecule/upgrade"
_EARLIER = STATE / "earlier"


@dataclass(frozen=True)
class Run:
    """How a playbook ended."""

    status: int
    output: str


@pytest.fixture(scope="session")
def play() -> Callable[..., Run]:
    """Runs a playbook for one relay: ``play("drain", "relay1", relay_drain_to="relay2")``; `earlier` for one of the
    earlier checkout."""

    def run(name: str, host: str, *, earlier: bool = False, **variables: Any) -> Run:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
        checkout = _EARLIER / "checkout" if earlier else CHECKOUT
        inventories = [_EARLIER / "inventory"] if earlier else [STATE / "inventory", _SCENARIO / "inventory"]
        command = ["ansible-playbook", f"--limit={host}", *(f"--inventory={each}" for each in inventories)]
        command += [f"--extra-vars={json.dumps(variables)}"]
        command += [f"--extra-vars=@{_SCENARIO / 'vars/earlier.yml'}"] if earlier else []
        done = subprocess.run(
            [*command, str(checkout / "playbooks" / f"{name}.yml")],
            env={
                **environment,
                "ANSIBLE_CONFIG": str(checkout / "ansible.cfg"),
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                "COLUMNS": "10000",
            },
            cwd=checkout,
            text=True,
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        return Run(done.returncode, done.stdout)

    return run


@pytest.fixture(scope="session")
def submit_many(lab: Lab) -> Callable[[str, str, int], list[str]]:
    """Submits messages to a relay; the tags that they have."""

    def submit(relay: str, prefix: str, count: int) -> list[str]:
        host = lab.hosts[relay]
        command = [sys.executable, str(_SCENARIO / "submit.py"), str(STATE), host.fqdn, str(host.address.ipv4)]
        done = subprocess.run([*command, prefix, str(count)], check=True, text=True, stdout=subprocess.PIPE)
        assert int(done.stdout) == count
        return [f"{prefix}-{number}" for number in range(count)]

    return submit


@pytest.fixture(scope="session")
def count(relays: dict[str, Relay]) -> Callable[[str], int]:
    """How many messages wait on a relay, whichever release it runs."""

    def waiting(relay: str) -> int:
        status = json.loads(relays[relay].host.check_output("relay-agent status --json"))
        return int(status["queue"]["messages"])

    return waiting


@pytest.fixture(scope="session")
def wait_for_count(count: Callable[[str], int]) -> Callable[..., int]:
    """Waits until so many messages are left on a relay, or time is up; how many there are."""

    def wait(relay: str, wanted: int, *, seconds: float = 240.0) -> int:
        deadline = time.monotonic() + seconds
        while (found := count(relay)) != wanted and time.monotonic() < deadline:
            time.sleep(0.5)
        return found

    return wait


@pytest.fixture(scope="session")
def mail_host(on: Callable[[str], Any]) -> Callable[[str], None]:
    """Starts or stops the mail host's Postfix."""
    return lambda action: on("mx").check_output(f"systemctl {action} postfix.service")


@pytest.fixture(scope="session")
def arrived(mailboxes: Mailboxes) -> Callable[[str, int], Counter[str]]:
    """How often each message whose tag begins so has arrived, as soon as there are so many or time is up.

    The mail host has a queue of its own: a relay's is empty before the last message lies in its mailbox.
    """

    def look(prefix: str, count: int) -> Counter[str]:
        mailboxes.wait_for([f"{prefix}-{number}" for number in range(count)], seconds=120)
        found = mailboxes.files()
        return Counter({tag: len(files) for tag, files in found.items() if tag.startswith(f"{prefix}-")})

    return look
