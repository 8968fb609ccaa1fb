# SPDX-License-Identifier: GPL-3.0-or-later
"""The part `fleet` of `make bench-deploy`: thirty relays in the lab `deploy`, and what a change of them costs.

Every measured run begins without SSH connections, as an operator's run does.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench_figures import BenchFailedError, Figure, recap, timed
from remote_load import Doorkeeper, RemoteLoad, fresh_ssh, longest_outage
from streaming import ROOT, Stream
from submission_load import Order, Report

__all__ = ["ROWS", "Fleet", "changes", "limited_to", "rival_playbook", "rules_that_shut_out"]

ROWS = ("noop", "rival", "change", "lockout")
LAB = "deploy"
STATE = ROOT / ".lab" / LAB
WORK = ROOT / ".build/bench-deploy"
ROLLOUT = ROOT / "playbooks/rollout.yml"
RIVAL = "geerlingguy.postfix"
NOOP_TARGETS = {1: 8.0, 10: 25.0, 30: 70.0}
"""Seconds for `site.yml` with nothing to do, by the number of hosts."""

CHANGED_HOSTS = 10
CHANGE_TARGET = 60.0
LOCKOUT_TARGET = 60.0
# Messages a second, over all relays: with a TLS handshake and a sign-in each, a tenth of the two cores.
LOAD_RATE = 10.0

# One value that a running agent takes over, and one for which its service starts anew.
CHANGE = {"relay_agent_submission": {"max_message_size": 26214400}}
RESTART = {"relay_agent_service": {"open_files": 60000}}
_OWN_RULES = "relay_firewall_extra_rules"


def limited_to(hosts: Sequence[str]) -> list[str]:
    """Ansible's options for these hosts alone."""
    return ["--limit", ",".join(hosts)]


def changes(extra: dict[str, Any], hosts: Sequence[str], *, rollout: bool) -> list[list[str]]:
    """The commands that bring a change to hosts and prove by probes that mail goes on.

    `rollout`: by the playbook that does both, in steps; otherwise one after the other.
    """
    options = [*limited_to(hosts), "-e", json.dumps(extra)]
    if rollout:
        return [_playbook("rollout.yml", *options)]
    return [_playbook("site.yml", *options), _playbook("verify.yml", *limited_to(hosts))]


def rival_playbook(role: str) -> str:
    """A playbook that applies the rival as its documentation says: the role, and nothing else."""
    plays = [{"name": "Rival", "hosts": "mailers", "become": True, "gather_facts": True, "roles": [role]}]
    # JSON is YAML, too.
    return json.dumps(plays, indent=2) + "\n"


def rules_that_shut_out(specs: str) -> dict[str, Any]:
    """Variables of a rule set that drops new connections to SSH, for a role whose argument_specs.yml is `specs`.

    By a rule of the operator's own, which the role loads as it is; where it takes none, by an SSH source that nobody
    is, which it may refuse beforehand.
    """
    if _OWN_RULES in specs:
        return {_OWN_RULES: {"incoming": ["tcp dport 22 drop"]}}
    return {"relay_firewall_ssh": {"sources": ["203.0.113.0/24"]}}


def _playbook(name: str, *options: str) -> list[str]:
    return ["ansible-playbook", "-i", "inventories/lab", f"playbooks/{name}", *options]


class Fleet:
    """The lab of thirty relays. Every method raises BenchFailedError when a command fails."""

    def __init__(self, stream: Stream, rival: Path | None = None) -> None:
        self._stream = stream
        self._rival = rival
        self._ssh = ["ssh", "-F", str(STATE / "ssh/config")]
        self._environment = {"POSTROAD_LAB": LAB}

    def prepare(self) -> None:
        """Put the lab up, and deploy to all of it; not measured."""
        self._lab("create")
        self._run("deploy to the fleet", _playbook("site.yml"))

    def remove(self) -> None:
        """Take the lab down."""
        self._lab("destroy")

    def measure(self, rows: Sequence[str]) -> list[Figure]:
        """The wanted rows, in the order of ROWS."""
        measures: dict[str, Callable[[], list[Figure]]] = {
            "noop": self._noop,
            "rival": self._rival_role,
            "change": self._change,
            "lockout": self._lockout,
        }
        return [figure for row in ROWS if row in rows for figure in measures[row]()]

    def _noop(self) -> list[Figure]:
        return [
            Figure(
                f"site.yml with nothing to do, {count} {'host' if count == 1 else 'hosts'}",
                f"{limit:.0f} s",
                limit,
                self._unchanged(f"nothing to do, {count}", _playbook("site.yml"), self._hosts("relays", count)),
            )
            for count, limit in NOOP_TARGETS.items()
        ]

    def _rival_role(self) -> list[Figure]:
        name = f"the same, 10 hosts, next to the role {RIVAL}"
        role = self._rival or self._from_galaxy()
        if role is None:
            remark = f"Galaxy cannot be reached: give the role's directory with --rival DIRECTORY ({RIVAL})"
            return [Figure(name, "not slower", float("inf"), None, remark)]
        WORK.mkdir(parents=True, exist_ok=True)
        book = WORK / "rival.yml"
        book.write_text(rival_playbook(str(role.resolve())))
        command = ["ansible-playbook", "-i", "inventories/lab", str(book)]
        mailers = self._hosts("mailers", 10)
        self._run("the rival's first run", [*command, *limited_to(mailers)])
        theirs = self._unchanged("the rival, nothing to do", command, mailers)
        ours = self._unchanged("ours, nothing to do", _playbook("site.yml"), self._hosts("relays", 10))
        return [Figure(name, "not slower", theirs, ours, f"theirs {theirs:.1f} s, installed Postfix left alone")]

    def _change(self) -> list[Figure]:
        hosts = self._hosts("relays", CHANGED_HOSTS)
        rollout = ROLLOUT.exists()
        seconds, first = self._under_load("a config value", changes(CHANGE, hosts, rollout=rollout), hosts)
        _, second = self._under_load("one that needs a restart", changes(RESTART, hosts, rollout=rollout), hosts)
        way = "rollout.yml" if rollout else "site.yml and verify.yml"
        accepted = first.accepted + second.accepted
        slowest = max(first.slowest, second.slowest)
        self._run("back to the inventory's values", [*_playbook("site.yml"), *limited_to(hosts)])
        return [
            Figure("a config value on 10 hosts, probes included", "60 s", CHANGE_TARGET, seconds, way),
            Figure(
                "failed submissions during rollouts",
                "0",
                0,
                first.failed + second.failed,
                f"{accepted} taken while a value changed and while the service restarted, slowest {slowest:.1f} s",
                unit="messages",
            ),
        ]

    def _lockout(self) -> list[Figure]:
        """An operator who loads rules that shut him out: how long, by fresh connections beside the playbook."""
        (relay,) = self._hosts("relays", 1)
        specs = (ROOT / "roles/relay_firewall/meta/argument_specs.yml").read_text()
        rules = rules_that_shut_out(specs)
        command = [*_playbook("site.yml"), *limited_to([relay]), "-e", json.dumps(rules)]
        self._stream.say(f"\n=== rules that drop SSH: {' '.join(command)}")
        with Doorkeeper(lambda: fresh_ssh(self._ssh, relay)) as door:
            outcome = self._stream.run("rules that drop SSH", command, env=self._environment)
        if outcome.status == 0:
            raise BenchFailedError("rules that drop SSH were taken for good")
        seconds = longest_outage(door.tries)
        if not seconds and _OWN_RULES in rules:
            raise BenchFailedError("rules that drop SSH were not loaded, so that nothing was measured")
        name = "operator locked out by rules that drop SSH"
        remark = "the host put the old rules back by itself" if seconds else "refused before they were loaded"
        self._unchanged("the old rules are live", _playbook("site.yml"), [relay])
        return [Figure(name, "60 s", LOCKOUT_TARGET, seconds, remark)]

    def _under_load(self, what: str, commands: list[list[str]], hosts: Sequence[str]) -> tuple[float, Report]:
        self._disconnect()
        seconds = 0.0
        with RemoteLoad(self._ssh, "laptop", self._order(hosts)) as load:
            for command in commands:
                lasted, output = self._run(what, command)
                seconds += lasted
                if command is commands[0] and sum(recap(output)[host].changed for host in hosts) < len(hosts):
                    raise BenchFailedError(f"{what}: not every host changed")
        for reason in load.report.reasons:
            self._stream.say(f"not taken: {reason}")
        return seconds, load.report

    def _order(self, hosts: Sequence[str]) -> Order:
        names = self._inventory()["relays"]["hosts"]
        return Order(
            relays=[names[host]["lab_fqdn"] for host in hosts],
            port=587,
            account="alice",
            password=json.loads((STATE / "secrets.yml").read_text())["accounts"]["alice"],
            sender="alice@alpha.test",
            recipient="bob@alpha.test",
            ca_certificate=(STATE / "private_ca/ca.pem").read_text(),
            rate=LOAD_RATE,
        )

    def _unchanged(self, what: str, command: list[str], hosts: Sequence[str]) -> float:
        self._disconnect()
        seconds, output = self._run(what, [*command, *limited_to(hosts)])
        counted = recap(output)
        busy = [host for host in hosts if host not in counted or counted[host].changed]
        if busy:
            raise BenchFailedError(f"{what}: there was something to do on {', '.join(busy)}")
        return seconds

    def _disconnect(self) -> None:
        """End the shared SSH connections that an earlier run has left."""
        for group in self._inventory().values():
            for host in group["hosts"]:
                subprocess.run([*self._ssh, "-O", "exit", host], capture_output=True, check=False)

    def _hosts(self, group: str, count: int) -> list[str]:
        return list(self._inventory()[group]["hosts"])[:count]

    def _inventory(self) -> dict[str, Any]:
        written = STATE / "inventory/hosts.json"
        if not written.exists():
            raise BenchFailedError(f"the lab {LAB} is not there: run this without --prepared")
        groups: dict[str, Any] = json.loads(written.read_text())["all"]["children"]
        return groups

    def _from_galaxy(self) -> Path | None:
        """The rival's directory, fetched once; None when Galaxy is out of reach."""
        roles = ROOT / ".cache/roles"
        place = roles / RIVAL
        if not place.exists():
            self._stream.say(f"\n=== fetching {RIVAL}")
            fetch = ["ansible-galaxy", "role", "install", "--roles-path", str(roles), RIVAL]
            if self._stream.run("fetching the rival", fetch).status or not place.exists():
                return None
        return place

    def _lab(self, command: str) -> None:
        module = [sys.executable, "-m", "lab", command, "--lab", LAB]
        timed(self._stream, f"lab {command}", module, env={"PYTHONPATH": str(ROOT / "molecule/shared")})

    def _run(self, what: str, command: list[str]) -> tuple[float, str]:
        return timed(self._stream, what, command, env=self._environment)
