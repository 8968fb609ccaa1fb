# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent runs without any privilege, and its secrets are its own."""

import re

import pytest
from traffic.relays import Relay

pytestmark = pytest.mark.parametrize("relay", ["relay1", "relay2"])


def test_no_process_has_root_or_a_capability(relay: str, relays: dict[str, Relay]) -> None:
    host = relays[relay].host
    uid = host.user("postroad").uid
    pids = relays[relay].processes()
    assert relays[relay].main_pid() in pids
    for pid in pids:
        status = dict(line.split(":", 1) for line in host.file(f"/proc/{pid}/status").content_string.splitlines())
        assert set(status["Uid"].split()) == {str(uid)}
        for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            assert int(status[kind], 16) == 0, kind
        assert status["NoNewPrivs"].strip() == "1"
        assert status["Seccomp"].strip() == "2"


def test_the_sandbox_is_tight(relay: str, relays: dict[str, Relay]) -> None:
    verdict = relays[relay].host.check_output("systemd-analyze security --no-pager relay-agent.service")
    match = re.search(r"Overall exposure level for relay-agent.service: ([\d.]+)", verdict)
    assert match, verdict
    assert float(match[1]) <= 2.0


def test_systemd_holds_the_ports(relay: str, relays: dict[str, Relay]) -> None:
    host = relays[relay].host
    assert host.service("relay-agent.socket").is_enabled
    assert host.check_output("systemctl is-active relay-agent.socket") == "active"


@pytest.mark.parametrize(
    ("path", "owner", "group", "mode"),
    [
        ("/etc/postroad/agent.toml", "root", "postroad", 0o640),
        ("/etc/postroad/accounts.toml", "root", "postroad", 0o640),
        ("/var/lib/postroad/queue", "postroad", "postroad", 0o700),
    ],
)
def test_files_are_for_the_agent_alone(
    path: str, owner: str, group: str, mode: int, relay: str, relays: dict[str, Relay]
) -> None:
    file = relays[relay].host.file(path)
    assert (file.user, file.group, file.mode) == (owner, group, mode)


def test_the_key_is_for_the_agent_alone(relay: str, relays: dict[str, Relay]) -> None:
    host = relays[relay].host
    key = host.check_output("readlink -f /etc/postroad/tls/privkey.pem")
    assert (host.file(key).user, host.file(key).group, host.file(key).mode) == ("root", "postroad", 0o640)
    assert host.run(f"runuser -u nobody -- cat {key}").rc != 0


def test_no_password_is_on_the_host(relay: str, relays: dict[str, Relay], passwords: dict[str, str]) -> None:
    host = relays[relay].host
    for password in passwords.values():
        assert host.run(f"grep -rqF -e {password} /etc /var/lib/postroad /var/log /opt/postroad").rc == 1


def test_the_agent_answers_its_operator(relay: str, relays: dict[str, Relay]) -> None:
    host = relays[relay].host
    assert host.run("relay-agent check-config /etc/postroad/agent.toml").rc == 0
    assert host.run("relay-agent status --json").rc == 0
    assert "$argon2id$" in host.file("/etc/postroad/accounts.toml").content_string
