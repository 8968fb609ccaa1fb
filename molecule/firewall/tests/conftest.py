# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's hosts, changes of their firewall, and strangers who guess passwords."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from lab.topology import Lab
from traffic.filters import SHUT_OUT, Played
from traffic.fixtures import CHECKOUT, STATE, lab, laptop, on, passwords, power, relays
from traffic.relays import Relay

__all__ = [
    "change",
    "guess",
    "guessed",
    "lab",
    "laptop",
    "on",
    "passwords",
    "power",
    "reached",
    "reaches",
    "relays",
    "tables",
]

SCENARIO = CHECKOUT / "molecule/firewall"
GUESSES = """
import smtplib, ssl, sys
host, account, *wrong = sys.argv[1:]
context = ssl._create_unverified_context()
for password in wrong:
    program = smtplib.SMTP(host, 587, timeout=10)
    program.starttls(context=context)
    try:
        program.ehlo()
        program.user, program.password = account, password
        program.auth("PLAIN", program.auth_plain)
    except smtplib.SMTPAuthenticationError as error:
        print(error.smtp_code)
    program.close()
"""


@pytest.fixture(scope="session")
def change() -> Callable[..., Played]:
    """Runs the role on all relays with these variables before all others."""

    def run(**variables: Any) -> Played:
        done = subprocess.run(
            [
                str(Path(sys.executable).with_name("ansible-playbook")),
                f"--inventory={STATE / 'inventory'}",
                f"--inventory={SCENARIO / 'inventory'}",
                f"--extra-vars={json.dumps(variables)}",
                str(SCENARIO / "change.yml"),
            ],
            cwd=CHECKOUT,
            env={
                **os.environ,
                "ANSIBLE_CALLBACK_RESULT_FORMAT": "json",
                "ANSIBLE_FORCE_COLOR": "0",
                "ANSIBLE_NOCOLOR": "1",
            },
            capture_output=True,
            text=True,
            check=False,
        )
        output = done.stdout + done.stderr
        failed = {
            host: json.JSONDecoder().raw_decode(output, found.end())[0]
            for found in re.finditer(r"^fatal: \[(\w+)\]: FAILED! => (?=\{)", output, re.MULTILINE)
            for host in [found[1]]
        }
        recap = {
            found[1]: {key: int(number) for key, number in re.findall(r"(\w+)=(\d+)", found[2])}
            for found in re.finditer(r"^(\w+)\s+: (ok=.*)$", output, re.MULTILINE)
        }
        return Played(done.returncode, output, failed, recap)

    return run


@pytest.fixture(scope="session")
def tables(on: Callable[[str], Any]) -> Callable[[str], dict[str, str]]:
    """The tables of a host that are not ours, by name, without their counters."""

    def listing(host: str) -> dict[str, str]:
        names = [line.removeprefix("table ") for line in on(host).check_output("nft list tables").splitlines()]
        foreign = [name for name in names if name != "inet postroad"]
        return {name: on(host).check_output(f"nft -s list table {name}") for name in foreign}

    return listing


@pytest.fixture(scope="session")
def reaches(laptop: Any) -> Callable[[str, int], bool]:
    """Whether the laptop gets a connection to a port of an address."""

    def connects(address: str, port: int) -> bool:
        done = laptop.run(f"timeout 3 bash -c 'exec 3<>/dev/tcp/{address}/{port}'")
        return bool(done.rc == 0)

    return connects


@pytest.fixture(scope="session")
def reached(reaches: Callable[[str, int], bool]) -> Callable[..., bool]:
    """Whether, within 20 seconds, the laptop gets a connection to a port of each address."""

    def connects(port: int, *addresses: str) -> bool:
        deadline = time.monotonic() + 20
        while not all(reaches(address, port) for address in addresses):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.5)
        return True

    return connects


@pytest.fixture(scope="session")
def guess(laptop: Any) -> Callable[..., list[str]]:
    """Has the laptop give wrong passwords; the codes that it got."""

    def give(address: str, account: str, *wrong: str) -> list[str]:
        command = " ".join([f"python3 - {address} {account}", *wrong])
        done = laptop.run(f"{command} <<'EOF'\n{GUESSES}\nEOF")
        return list(done.stdout.split())

    return give


@pytest.fixture(scope="session")
def guessed(lab: Lab, on: Callable[[str], Any], guess: Callable[..., list[str]]) -> dict[tuple[str, int], list[str]]:
    """The laptop guessed at two accounts of each relay, over both families; the codes by relay and IP version."""

    def both(relay: str) -> dict[tuple[str, int], list[str]]:
        address = lab.host(relay).address
        codes = {}
        for version, one in ((4, address.ipv4), (6, address.ipv6)):
            accounts = [f"alice{version}", f"bob{version}"]
            codes[relay, version] = [code for name in accounts for code in guess(one, name, "wrong1", "wrong2")]
        return codes

    with ThreadPoolExecutor() as pool:
        found = list(pool.map(both, ("relay1", "relay2")))
    time.sleep(1)  # notices are gathered for a fifth of a second
    # On a busy machine it takes longer until relay1 has shut out both addresses.
    deadline = time.monotonic() + 20
    sets = [SHUT_OUT.format(version) for version in (4, 6)]
    while not all("elements" in on("relay1").check_output(each) for each in sets) and time.monotonic() < deadline:
        time.sleep(0.5)
    return found[0] | found[1]


@pytest.fixture(scope="session", autouse=True)
def started(relays: dict[str, Relay]) -> None:
    """Every test begins with relays that are up."""
    assert set(relays) == {"relay1", "relay2"}
