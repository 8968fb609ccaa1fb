# SPDX-License-Identifier: GPL-3.0-or-later
"""The module agent_config as Ansible runs it on a host, with the real agent's commands."""

import json
import sys
from typing import Any

import pytest

from relay_agent.accounts.hashing import verify_password
from relay_agent.accounts.store import load_accounts
from tests.unit.plugins.machine import ROOT, Machine

OLD, NEW = "11111111", "22222222"
ARGUMENTS: dict[str, Any] = {
    "release": OLD,
    "hostname": "relay.example.org",
    "listeners": [{"port": 587, "tls": "none", "auth": "optional"}],
    "submission": {"trusted_networks": ["192.0.2.0/24"]},
    "routes": [
        {
            "domains": ["*"],
            "via": [
                {"host": "hop.example", "port": 587, "tls": "starttls", "username": "u", "password": "upstr3am-pw"}
            ],
        }
    ],
    "accounts": [{"name": "alice", "password": "al1ce-pw"}],
    "units": {
        "relay-agent.socket": "[Socket]\nListenStream=587\n",
        "relay-agent.service": "[Service]\nExecStart=/opt/postroad/current/bin/relay-agent serve\n",
    },
}
SECRETS = ("upstr3am-pw", "al1ce-pw", "$argon2")


@pytest.fixture
def host(machine: Machine) -> Machine:
    return prepared(machine)


@pytest.fixture(scope="module")
def bare(shared_machine: Machine) -> Machine:
    """A host on which nothing is put to use."""
    return prepared(shared_machine)


def prepared(machine: Machine) -> Machine:
    """Two releases, which are this checkout, and the agent's user.

    The user has root's id: the interpreter of a developer may be where no other user can go.
    """
    machine.sh("groupadd --system postroad; useradd --non-unique --uid 0 --gid postroad --home-dir /root postroad")
    script = f'#!/bin/sh\ncd {ROOT}\nexec {sys.executable} -m relay_agent "$@"\n'
    for release in (OLD, NEW):
        directory = machine.path(f"/opt/postroad/releases/{release}")
        (directory / "bin").mkdir(parents=True)
        (directory / "bin" / "relay-agent").write_text(script)
        (directory / "bin" / "relay-agent").chmod(0o755)
        (directory / "release.json").write_text("{}")
    return machine


def configure(machine: Machine, *, check: bool = False, **changes: Any) -> dict[str, Any]:
    return machine.module("agent_config", ARGUMENTS | changes, check=check)


def state(machine: Machine) -> str:
    return machine.sh("cd /; find etc/postroad etc/systemd/system opt/postroad usr/local/bin/relay-agent -ls || true")


def test_from_a_bare_host_to_one_that_stays_as_it_is(host: Machine) -> None:
    before = state(host)
    told = configure(host, check=True)
    assert told["changed"]
    assert state(host) == before
    assert host.asked() == []

    done = configure(host)
    assert (done["changed"], done["action"]) == (True, "restarted, ports opened anew")
    # What check mode told of is what came to be.
    assert [entry["after_header"] for entry in told["diff"]] == [entry["after_header"] for entry in done["diff"]]
    assert not any(secret in json.dumps([told, done]) for secret in SECRETS)
    assert host.sh("cd /etc/postroad; stat -c '%n %U:%G %a' . agent.toml accounts.toml secrets secrets/*") == (
        ". root:postroad 750\nagent.toml root:postroad 640\naccounts.toml root:postroad 640\n"
        "secrets root:postroad 750\nsecrets/u@hop.example-587.password root:postroad 640\n"
    )
    assert host.sh("readlink /opt/postroad/current /usr/local/bin/relay-agent") == (
        f"releases/{OLD}\n/opt/postroad/current/bin/relay-agent\n"
    )
    accounts = load_accounts(host.path("/etc/postroad/accounts.toml"))
    assert verify_password(accounts["alice"].hash, "al1ce-pw")
    assert "enable --quiet relay-agent.socket relay-agent.service" in host.asked()

    settled = state(host)
    for check in (True, False):
        again = configure(host, check=check)
        assert (again["changed"], again["action"], again["diff"]) == (False, "left alone", [])
    assert host.asked() == []
    assert state(host) == settled


def test_a_drained_host_is_changed_and_said_to_be_drained(host: Machine) -> None:
    assert configure(host)["drained"] is False
    host.path("/etc/postroad/drained.json").write_text("{}")
    again = configure(host)
    assert again["drained"] is True, again
    assert "this host is drained and stays so" in str(again["warnings"])


def test_a_configuration_that_the_release_refuses_replaces_nothing(host: Machine) -> None:
    configure(host)
    host.asked()
    config = host.path("/etc/postroad/agent.toml").read_bytes()
    refused = configure(host, release=NEW, listeners=[{"port": 587, "tls": "starttls"}])
    assert refused["failed"]
    assert "the new configuration is refused by release 22222222; the running agent is untouched" in refused["msg"]
    assert "/etc/postroad/agent.toml: tls.certificate:" in refused["msg"]
    assert host.asked() == []
    assert host.path("/etc/postroad/agent.toml").read_bytes() == config
    assert host.sh("readlink /opt/postroad/current; ls -A /etc/postroad") == (
        f"releases/{OLD}\naccounts.toml\nagent.toml\nsecrets\n"
    )


def test_a_release_that_does_not_start_is_put_back(host: Machine) -> None:
    host.refuse("restart")
    refused = configure(host)
    assert refused["failed"]
    assert "it refuses\nNothing ran here before, so nothing runs now" in refused["msg"]
    assert refused["msg"].endswith("The agent's last words:\n  cannot bind")
    assert not any(secret in json.dumps(refused) for secret in SECRETS)
    assert not host.path("/etc/systemd/system/relay-agent.service").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"release": None}, "no release of the agent is installed: run postroad.relay.agent_release first"),
        ({"release": "33333333"}, "release 33333333 is not installed"),
        (
            {"listeners": [{"port": 587, "tls": "maybe"}]},
            "tls must be one of: starttls, implicit, auto, none, got: maybe",
        ),
        (
            {"routes": [{"domains": ["*"], "via": [{"host": "hop.example", "password": "s3cret\nx"}]}]},
            "routes[0].via[0].password: contains a line break or a NUL",
        ),
        ({"units": {}}, "missing required arguments: relay-agent.service, relay-agent.socket found in units"),
    ],
)
def test_what_cannot_be_is_a_sentence_without_secrets(bare: Machine, changes: dict[str, Any], message: str) -> None:
    refused = configure(bare, **{"accounts": [], **changes})
    assert refused["failed"]
    assert message in refused["msg"]
    assert "s3cret" not in json.dumps(refused)
