# SPDX-License-Identifier: GPL-3.0-or-later
"""Three relays under load, the operator's playbooks, and releases of the agent other than that of the checkout."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from traffic.fixtures import (
    AUTHORITY,
    CHECKOUT,
    STATE,
    compose,
    lab,
    laptop,
    mailboxes,
    on,
    passwords,
    power,
    relays,
    submit,
)
from traffic.load import Load
from traffic.relays import Relay
from traffic.rollout import Story

__all__ = ["compose", "lab", "laptop", "mailboxes", "on", "passwords", "power", "relays", "submit"]

Playbook = Callable[..., subprocess.CompletedProcess[str]]

# What a release and the playbooks are made of.
_PARTS = ("relay_agent", "plugins", "roles", "playbooks", "locks", "meta", "pyproject.toml", "README.md", "LICENSE")
_RUNS = """
cd /etc/postroad
systemctl show --property=MainPID --value relay-agent.service
readlink /opt/postroad/current
sha256sum agent.toml accounts.toml secrets/* | sha256sum
cat /opt/postroad/generations/history.json
ls /opt/postroad | grep -v lock
"""


@pytest.fixture(scope="session")
def load(laptop: Any, passwords: dict[str, str], relays: dict[str, Relay]) -> Load:
    """Clients of every relay, in the network that blocks port 25."""
    return Load(laptop, passwords["alice"], AUTHORITY, list(relays))


@pytest.fixture(scope="session")
def start() -> Callable[..., subprocess.Popen[str]]:
    """Starts a playbook, by default that of the checkout, with these variables in place of the inventory's."""

    def one(
        name: str, variables: Mapping[str, Any], checkout: Path = CHECKOUT, *, limit: str = ""
    ) -> subprocess.Popen[str]:
        inventories = (STATE / "inventory", CHECKOUT / "molecule/fleet/inventory")
        command = [str(Path(sys.executable).with_name("ansible-playbook")), str(checkout / "playbooks" / name)]
        command += [*(f"--inventory={each}" for each in inventories), f"--extra-vars={json.dumps(variables)}"]
        command += [f"--limit={limit}"] if limit else []
        environment = {**os.environ, "ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}
        if checkout != CHECKOUT:
            environment["ANSIBLE_COLLECTIONS_PATH"] = str(checkout / "collections")
        return subprocess.Popen(
            command, env=environment, cwd=CHECKOUT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    return one


@pytest.fixture(scope="session")
def playbook(start: Callable[..., subprocess.Popen[str]]) -> Playbook:
    """Runs a playbook to its end; see `start`."""

    def run(*arguments: Any, **options: str) -> subprocess.CompletedProcess[str]:
        process = start(*arguments, **options)
        output, _ = process.communicate(timeout=600)
        return subprocess.CompletedProcess(process.args, process.returncode, output, "")

    return run


@pytest.fixture(scope="session")
def patched(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str, str], Path]:
    """Makes a checkout whose agent differs in one place: file, what stands there, what takes its place."""

    def make(name: str, old: str, new: str) -> Path:
        copy: Path = tmp_path_factory.mktemp("checkout") / "postroad"
        copy.mkdir()
        for part in _PARTS:
            source = CHECKOUT / part
            if source.is_dir():
                shutil.copytree(source, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, copy / part)
        file = copy / "relay_agent" / name
        text = file.read_text()
        assert text.count(old) == 1
        file.write_text(text.replace(old, new))
        # What was fetched and built for the checkout is good here, too.
        (copy / ".build").symlink_to(CHECKOUT / ".build")
        collection = copy / "collections/ansible_collections/postroad/relay"
        collection.parent.mkdir(parents=True)
        collection.symlink_to(copy)
        return copy

    return make


@pytest.fixture(scope="session")
def runs(relays: dict[str, Relay]) -> Callable[[], dict[str, str]]:
    """What each relay runs: process, release, hash of all configuration, generations, and what else is kept there."""
    return lambda: {name: relay.host.check_output(_RUNS) for name, relay in relays.items()}


@pytest.fixture(scope="session")
def rolled_out(load: Load, playbook: Playbook, runs: Callable[[], dict[str, str]]) -> Callable[..., Story]:
    """Runs rollout.yml with these variables (and of this checkout); the load begins before it and ends after it."""

    def run(*arguments: Any) -> Story:
        before = runs()
        with load.running() as submissions:
            rollout = playbook("rollout.yml", *arguments)
        return Story(rollout, submissions, before, runs())

    return run
