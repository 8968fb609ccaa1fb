# SPDX-License-Identifier: GPL-3.0-or-later
"""Playbooks run as the operator runs them, and sessions opened at the relays from the operator's machine."""

import json
import os
import smtplib
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from lab.topology import Lab

from traffic.fixtures import CHECKOUT, LAB, STATE

__all__ = ["Run", "first_runs", "message", "play", "sign_in"]

CHANGES = STATE / "changes"
CALLBACK = CHECKOUT / "molecule" / "operations" / "callback"


@dataclass(frozen=True)
class Run:
    """A playbook that was run. changes: for each host and task that changed something, diff and action."""

    status: int
    output: str
    seconds: float
    check: bool
    changes: dict[str, dict[str, Any]]


def recorded(path: Path) -> dict[str, Any]:
    run: dict[str, Any] = json.loads(path.read_text())
    return run


@pytest.fixture(scope="session")
def first_runs() -> list[dict[str, Any]]:
    """The runs that molecule made on the bare hosts, in their order."""
    runs = [recorded(path) for path in sorted(CHANGES.iterdir())]
    return [run for run in runs if run["playbook"] == "converge"]


@pytest.fixture(scope="session")
def play(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Run]:
    """Runs ``playbooks/<name>.yml`` with the given variables, which go by a file."""
    environment = os.environ | {
        "ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg"),
        "ANSIBLE_CALLBACK_PLUGINS": str(CALLBACK),
        "ANSIBLE_CALLBACKS_ENABLED": "changes",
        "ANSIBLE_NOCOLOR": "1",
        # molecule asks for colours, and that would count for more.
        "ANSIBLE_FORCE_COLOR": "0",
        "POSTROAD_LAB": LAB,
    }
    program = Path(sys.executable).with_name("ansible-playbook")

    def run(name: str, *options: str, check: bool = False, **variables: Any) -> Run:
        place = tmp_path_factory.mktemp("run")
        (place / "variables.json").write_text(json.dumps(variables))
        command = [str(program), "--diff", f"--inventory={STATE / 'inventory'}", f"playbooks/{name}.yml"]
        command += [f"--extra-vars=@{place}/variables.json", *options, *(["--check"] if check else [])]
        started = time.monotonic()
        changes = place / "changes"
        done = subprocess.run(
            command, cwd=CHECKOUT, env=environment | {"POSTROAD_CHANGES": str(changes)},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        seconds = time.monotonic() - started
        found = recorded(next(changes.iterdir()))["changes"] if changes.is_dir() else {}
        return Run(done.returncode, done.stdout + done.stderr, seconds, check, found)

    return run


@pytest.fixture(scope="session")
def sign_in(lab: Lab) -> Callable[..., smtplib.SMTP]:
    """Opens a session at a relay's port 587 and signs in; verifies by the authorities that people are given."""

    def open_session(relay: str, account: str, password: str) -> smtplib.SMTP:
        host = lab.hosts[relay]
        trusted = ssl.create_default_context(cafile=str(STATE / "private_ca" / "ca.pem"))
        session = NamedSession(host.fqdn, host.address.ipv4)
        try:
            session.starttls(context=trusted)
            session.login(account, password)
        except BaseException:
            session.close()
            raise
        return session

    return open_session


class NamedSession(smtplib.SMTP):
    """A session with an address, whose certificate has to be for a name that this machine's DNS does not know."""

    def __init__(self, name: str, address: str) -> None:
        super().__init__(timeout=30)
        self._address = address
        self.connect(address, 587)
        self._host = name


def message(sender: str, recipient: str, token: str) -> str:
    """A message with CRLF line ends, which can be followed by `token`."""
    return (
        f"From: <{sender}>\r\nTo: <{recipient}>\r\nSubject: {token}\r\nDate: {formatdate()}\r\n"
        f"Message-ID: <{token}@operator.test>\r\n\r\nA line.\r\n"
    )
