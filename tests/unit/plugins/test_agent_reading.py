# SPDX-License-Identifier: GPL-3.0-or-later
"""What is read on a relay, and that a relay's own things do not count as differences."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.postroad.relay.plugins.module_utils.agent_reading import (
    AgentReader,
    comparable_settings,
    run_within,
    settings_digest,
)
from ansible_collections.postroad.relay.plugins.module_utils.applied_state import AppliedState, AppliedStore
from status_example import certificate

CONFIG = """
hostname = "relay1.example.org"
[[listener]]
address = "192.0.2.1"
port = 587
tls = "starttls"
[[listener]]
port = 465
tls = "implicit"
[tls]
certificate = "{certificate}"
key = "/etc/postroad/tls/privkey.pem"
[submission]
max_message_size = 1000
[suppression]
report_address = "fbl@relay1.example.org"
[[route]]
domains = ["*"]
source_address = "192.0.2.1"
via = [{{ host = "smtp.example.net" }}]
"""
STATUS: dict[str, Any] = {
    "running": True, "hostname": "relay1.example.org", "version": "0.1.0", "uptime": 60.0, "sessions": 2,
    "workers": [{}, {}], "listeners": [{"address": None, "port": 587, "tls": "starttls", "auth": "required"}],
    "queue": {"messages": 3, "recipients": 4, "bytes": 10, "held": 1},
    "delivery": {
        "port25": {"state": "closed"}, "quarantined": [{}],
        "upstreams": [{"name": "up:587", "state": "rests"}, {"name": "well:587", "state": "well"}],
    },
    "reputation": {"listings": [{"address": "192.0.2.1", "list": "bl.example", "listed": True}]},
}  # fmt: skip
METRICS = {
    "metrics": [
        {
            "name": "postroad_delivery_outcomes_total",
            "samples": [
                {"labels": {"outcome": "delivered"}, "value": 7},
                {"labels": {"outcome": "failed"}, "value": 2},
            ],
        },
        {"name": "postroad_queue_oldest_age_seconds", "samples": [{"labels": {}, "value": 99.5}]},
    ]
}
GROUPS = [
    {"reason": "timed out", "recipients": 2, "destination": "a.example"},
    {"reason": "timed out", "recipients": 5, "destination": "b.example"},
    {"reason": "", "recipients": 1, "destination": "c.example"},
]
ACCOUNTS = [{"name": "anna", "disabled": False, "created": "2026-01-01T00:00:00Z", "addresses": []}]


class Host:
    """A relay's files in a directory, and what its commands answer."""

    def __init__(self, root: Path) -> None:
        self.etc, self.opt = root / "etc", root / "opt"
        self.answers: dict[str, Any] = {
            "status": STATUS, "metrics": METRICS, "queue": GROUPS, "account": ACCOUNTS,
        }  # fmt: skip
        (self.etc / "secrets").mkdir(parents=True)
        (self.etc / "secrets" / "me.password").write_text("s3cret")
        (self.etc / "chain.pem").write_text(certificate(30) + certificate(999))
        (self.etc / "agent.toml").write_text(CONFIG.format(certificate=self.etc / "chain.pem"))
        release = self.opt / "releases" / "0123456789abcdef"
        release.mkdir(parents=True)
        described = {"id": "0123456789abcdef", "version": "0.1.0", "source": "s", "lock": "l", "platform": "Python"}
        (release / "release.json").write_text(json.dumps(described))
        (self.opt / "current").symlink_to("releases/0123456789abcdef")

    def run(self, command: list[str]) -> tuple[int, str, str]:
        if command[0] == "systemctl":
            return 0, "Id=relay-agent.service\nActiveState=active\nUnitFileState=enabled\n", ""
        answer = self.answers[command[1]]
        return answer if isinstance(answer, tuple) else (0, json.dumps(answer), "")

    def read(self, key: str = "k") -> dict[str, Any]:
        return AgentReader(self.run, key, etc=self.etc, opt=self.opt, command=Path("/relay-agent")).read()


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_a_relay_that_runs(host: Host) -> None:
    found = host.read()
    assert found["problems"] == []
    assert found["release"]["id"] == "0123456789abcdef"
    assert found["agent"]["listeners"] == [{"port": 587, "tls": "starttls"}]
    assert found["agent"]["drained"] is None
    assert (found["agent"]["port25"], found["agent"]["quarantined"]) == ("closed", 1)
    assert found["agent"]["listed"] == ["192.0.2.1 on bl.example"]
    assert found["agent"]["upstreams_in_trouble"] == ["up:587"]
    assert (found["queue"]["messages"], found["queue"]["oldest"]) == (3, 99.5)
    assert found["queue"]["reasons"] == [
        {"reason": "timed out", "recipients": 7, "destinations": ["b.example", "a.example"]},
        {"reason": "not tried yet", "recipients": 1, "destinations": ["c.example"]},
    ]
    assert (found["counts"]["delivered"], found["counts"]["failed"], found["counts"]["deferred"]) == (7, 2, 0)
    assert found["units"] == {"relay-agent.service": "active, enabled"}
    assert found["certificate"].count("BEGIN CERTIFICATE") == 1


def test_secrets_are_told_by_digests_that_only_this_run_can_compare(host: Host) -> None:
    one, again, other = host.read("k"), host.read("k"), host.read("another")
    assert one["secrets"] == again["secrets"]
    assert one["secrets"].keys() == {"me.password"}
    assert one["secrets"] != other["secrets"]
    assert one["accounts"] != other["accounts"]
    assert "s3cret" not in json.dumps(one)


def test_a_bare_host(tmp_path: Path) -> None:
    found = AgentReader(lambda _: (1, "", ""), "k", etc=tmp_path / "no", opt=tmp_path / "none").read()
    assert found["installed"] is False
    assert found["problems"] == ["no agent is installed here"]


def test_an_agent_that_does_not_run(host: Host) -> None:
    host.answers["status"] = (1, '{"running": false}', "")
    found = host.read()
    assert found["agent"] is None
    assert found["queue"] is None
    assert found["digest"]


def test_an_agent_that_hangs_is_told_in_words(host: Host) -> None:
    host.answers["status"] = (124, "", "gave no answer within 40 s")
    assert host.read()["problems"] == ["relay-agent status: gave no answer within 40 s"]


def test_a_configuration_that_is_broken(host: Host) -> None:
    (host.etc / "agent.toml").write_text("hostname = ")
    found = host.read()
    assert found["settings"] is None
    assert "agent.toml" in found["problems"][0]


def test_what_was_changed_by_hand(host: Host) -> None:
    digest = hashlib.sha256((host.etc / "agent.toml").read_bytes()).hexdigest()
    AppliedStore(host.opt / "applied").save(AppliedState("aaaaaaaa", digest, "", "", ""))
    assert host.read()["by_hand"] is False
    with (host.etc / "agent.toml").open("a") as file:
        file.write("# a word\n")
    assert host.read()["by_hand"] is True


def test_a_host_s_own_things_make_no_difference() -> None:
    def settings(name: str, address: str, *, listeners: int = 1) -> dict[str, str]:
        return comparable_settings(
            {
                "hostname": name,
                "listener": [{"port": 587, "tls": "starttls", "address": address}][:listeners],
                "tls": {"certificate": f"/etc/{name}.pem", "key": f"/etc/{name}.key", "client_ca": "/etc/ca.pem"},
                "metrics": {"address": address, "port": 9465},
                "suppression": {"report_address": f"fbl@{name}"},
                "route": [{"domains": ["*"], "source_address": address, "helo": name}],
            }
        )

    one, two = settings("a.example.org", "192.0.2.1"), settings("b.example.org", "192.0.2.2")
    assert one == two
    assert settings_digest(one) == settings_digest(two)
    assert settings_digest(one) != settings_digest(settings("a.example.org", "192.0.2.1", listeners=0))
    assert "tls.client_ca" in one


def test_listeners_go_by_port_and_not_by_place() -> None:
    listeners = [{"port": 587, "tls": "starttls"}, {"port": 465, "tls": "implicit"}]
    assert comparable_settings({"listener": listeners}) == comparable_settings({"listener": listeners[::-1]})


def test_commands_that_are_not_there_or_take_too_long() -> None:
    assert run_within(["/no/such/program"])[0] == 127
    assert run_within(["sleep", "5"], seconds=0.05)[0] == 124
    assert run_within(["echo", "x"]) == (0, "x\n", "")
