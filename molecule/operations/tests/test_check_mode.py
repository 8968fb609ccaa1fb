# SPDX-License-Identifier: GPL-3.0-or-later
"""``site.yml --check --diff`` shows what the run does: on bare hosts, after changes by hand, with other variables."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from traffic.operator import Run
from traffic.relays import Relay

RELAYS = ["relay1", "relay2"]
CERTIFICATE = "postroad.relay.relay_tls : Keep the certificate"
AGENT = "postroad.relay.relay_agent : Configuration, accounts and units, put to use with the release"
FIREWALL = "postroad.relay.relay_firewall : Keep the packet filter's table"
BY_HAND = r"""
set -e
sed -i 's/^hostname.*/hostname = "other.example"/' /etc/postroad/agent.toml
echo '# by hand' >> /etc/systemd/system/relay-agent.service
rm -f /etc/postroad/secrets/*
chmod 0755 /etc/postroad/secrets
chmod 0644 /etc/postroad/tls/versions/*/privkey.pem
nft add rule inet postroad incoming tcp dport 4444 accept
systemctl disable --quiet postroad-firewall.service
"""


@dataclass(frozen=True)
class Pair:
    """A check run, and the run after it."""

    told: Run
    done: Run


@pytest.fixture(scope="module")
def variables(passwords: dict[str, str]) -> dict[str, Any]:
    """A route with a secret, another port, another name, another account."""
    accounts = [{"name": name, "password": password} for name, password in passwords.items()]
    return {
        "relay_agent_routes": [
            {
                "domains": ["upstream.test"],
                "via": [{"host": "up.test", "port": 587, "username": "me", "password": secrets.token_urlsafe(16)}],
            }
        ],
        "relay_agent_listeners": [{"port": 587, "tls": "starttls"}, {"port": 5587, "tls": "starttls"}],
        "relay_firewall_ports": [587, 5587],
        "relay_agent_accounts": [*accounts, {"name": "Dora", "password": secrets.token_urlsafe(12)}],
    }


def pair(play: Callable[..., Run], variables: dict[str, Any], *options: str) -> Pair:
    told = play("site", *options, check=True, **variables)
    return Pair(told, play("site", *options, **variables))


@pytest.fixture(scope="module")
def changed(play: Callable[..., Run], variables: dict[str, Any]) -> Pair:
    return pair(play, variables)


@pytest.fixture(scope="module")
def drifted(changed: Pair, play: Callable[..., Run], relays: dict[str, Relay], variables: dict[str, Any]) -> Pair:
    """Everything was changed by hand on one relay; and the variables are those of before."""
    relays["relay1"].host.check_output(BY_HAND)
    return pair(play, variables, "--limit=relay1")


@pytest.fixture(scope="module")
def back(drifted: Pair, play: Callable[..., Run]) -> Pair:
    """The inventory's variables again: a secret that nobody names any more."""
    return pair(play, {})


def test_the_check_on_bare_hosts_showed_what_the_run_did(first_runs: list[dict[str, Any]]) -> None:
    told, done = first_runs[:2]
    assert (told["check"], done["check"]) == (True, False)
    for relay in RELAYS:
        assert told["changes"][relay].keys() == done["changes"][relay].keys()
        for task, change in done["changes"][relay].items():
            assert told["changes"][relay][task] == change, task
        assert {CERTIFICATE, AGENT, FIREWALL} < done["changes"][relay].keys()
        assert all(change["diff"] for change in done["changes"][relay].values())


@pytest.mark.parametrize("which", ["changed", "drifted", "back"])
def test_the_check_showed_what_the_run_did(which: str, request: pytest.FixtureRequest) -> None:
    runs: Pair = request.getfixturevalue(which)
    assert runs.done.status == 0, runs.done.output
    assert runs.told.changes == runs.done.changes
    assert all(change["diff"] for tasks in runs.done.changes.values() for change in tasks.values())


def test_what_was_changed_is_in_it(changed: Pair) -> None:
    for relay in RELAYS:
        assert set(changed.done.changes[relay]) == {AGENT, FIREWALL}
        shown = headers(changed.done, relay, AGENT)
        assert "/etc/postroad/agent.toml" in shown
        assert "/etc/systemd/system/relay-agent.socket" in shown
        assert "/etc/postroad/accounts.toml" in shown
        assert any(header.startswith("/etc/postroad/secrets/") for header in shown)


def test_what_a_hand_did_is_undone_and_shown(drifted: Pair, relays: dict[str, Relay]) -> None:
    assert set(drifted.done.changes) == {"relay1"}
    assert set(drifted.done.changes["relay1"]) == {CERTIFICATE, AGENT, FIREWALL}
    shown = headers(drifted.done, "relay1", AGENT)
    assert "/etc/postroad/agent.toml" in shown
    assert "/etc/systemd/system/relay-agent.service" in shown
    assert "directory /etc/postroad/secrets" in shown
    assert any(header.startswith("/etc/postroad/secrets/") for header in shown)
    assert relays["relay1"].wait_until_running()


def test_nothing_is_left_to_do(back: Pair, play: Callable[..., Run]) -> None:
    assert back.done.status == 0
    again = play("site", check=True)
    assert again.changes == {}, again.output


def test_what_is_left_over_is_shown(back: Pair) -> None:
    for relay in RELAYS:
        gone = [
            entry
            for entry in back.done.changes[relay][AGENT]["diff"]
            if entry["before_header"].startswith("/etc/postroad/secrets/")
        ]
        assert [(entry["before"], entry["after"]) for entry in gone] == [("(secret)\n", "")]


def test_no_secret_is_shown(changed: Pair, drifted: Pair, back: Pair, variables: dict[str, Any]) -> None:
    hop = variables["relay_agent_routes"][0]["via"][0]
    hidden = [hop["password"], *(account["password"] for account in variables["relay_agent_accounts"])]
    for runs in (changed, drifted, back):
        for run in (runs.told, runs.done):
            assert not [secret for secret in hidden if secret in run.output]
            assert "$argon2" not in run.output
            assert "PRIVATE KEY" not in run.output


def headers(run: Run, relay: str, task: str) -> list[str]:
    return [entry["after_header"] for entry in run.changes[relay][task]["diff"]]
