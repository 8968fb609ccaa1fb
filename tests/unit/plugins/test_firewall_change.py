# SPDX-License-Identifier: GPL-3.0-or-later
"""In which order a firewall is changed, and what keeps it as it is; test_firewall_table.py has the real nft."""

import getpass
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.postroad.relay.plugins.module_utils import firewall_change, ssh_access
from ansible_collections.postroad.relay.plugins.module_utils.firewall_change import FirewallChange, FirewallError
from ansible_collections.postroad.relay.plugins.module_utils.foreign_filters import ForeignFilterError
from ansible_collections.postroad.relay.plugins.module_utils.nft_live import NftError
from ansible_collections.postroad.relay.plugins.module_utils.ssh_access import SshConnection
from ansible_collections.postroad.relay.plugins.modules.firewall_table import ARGUMENTS

SS = """\
LISTEN 0 100      0.0.0.0:587  0.0.0.0:* users:(("relay-agent",pid=7,fd=3))
LISTEN 0 100    127.0.0.1:5432 0.0.0.0:* users:(("postgres",pid=8,fd=3))
LISTEN 0 100         [::]:8080    [::]:* users:(("java",pid=9,fd=3),("nginx",pid=10,fd=3))
LISTEN 0 100      0.0.0.0:9100 0.0.0.0:* users:(("node_exporter",pid=11,fd=3))
"""
HOME = SshConnection(client="192.0.2.1", client_port=50_000, server="192.0.2.2", server_port=22)


class Filter:
    """Stands where PacketFilter stands; the rules are in memory. refuses: nft does not take new ones."""

    def __init__(self, done: list[str], staged: Path, boot_file: Path) -> None:
        self.done = done
        self.boot_file = boot_file
        self.rules = ""
        self.enabled = False
        self.refuses = False
        self.staged_rules = staged

    def live(self) -> str:
        return self.rules

    def as_loaded(self, rules: str) -> str:
        return rules

    def boots(self) -> bool:
        return self.enabled

    def apply(self, rules: str, *, restore_after: int) -> None:
        if self.refuses:
            raise NftError("the rules are refused: line 3")
        self.done.append(f"loaded for {restore_after} s")
        self.staged_rules.write_text(rules)
        self.rules = rules

    def disarm(self) -> None:
        self.done.append("disarmed")

    def keep(self, rules: str, units: Mapping[Path, str]) -> None:
        self.done.append("kept")
        self.enabled = True
        self.boot_file.write_text(rules)
        for path, content in units.items():
            path.write_text(content)


class OtherFilter:
    """ufw or firewalld, with ports that are open and those of them that are ours."""

    name = "ufw"

    def __init__(self, done: list[str], opened: set[str], ours: set[str]) -> None:
        self.done, self.opened, self.mine = done, opened, ours

    def open_ports(self) -> set[str]:
        return set(self.opened)

    def ours(self) -> set[str]:
        return set(self.mine)

    def change(self, opened: Any, closed: Any) -> None:
        for port in sorted(opened):
            self.done.append(f"ufw opens {port}")
        for port in sorted(closed):
            self.done.append(f"ufw closes {port}")
        self.opened = (self.opened | set(opened)) - set(closed)
        self.mine = (self.mine | set(opened)) - set(closed)


class ShutOut:
    """Nothing to do for the service beside it."""

    def differs(self) -> bool:
        return False

    def differing(self) -> dict[Path, tuple[str, str]]:
        return {}

    def ensure(self) -> None:
        pass


class Host:
    """What is live, kept and open, from one run of the module to the next."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.done: list[str] = []
        self.warned: list[str] = []
        boot_file = directory / "firewall.nft"
        self.filter = Filter(self.done, directory / "staged.nft", boot_file)
        self.others: list[OtherFilter] = []
        self.unit = directory / "unit"
        self.connection: SshConnection | None = HOME
        monkeypatch.setattr(firewall_change, "BOOT_FILE", boot_file)
        monkeypatch.setattr(firewall_change, "boot_units", lambda nft: {self.unit: "unit\n"})
        monkeypatch.setattr(firewall_change, "active_filters", lambda run, zones: self.others)
        monkeypatch.setattr(ssh_access, "current_connection", lambda: self.connection)
        monkeypatch.setattr(ssh_access, "sshd_ports", lambda run, listeners: {22})

    def run(self, args: list[str], /) -> tuple[int, str, str]:
        return (0, SS, "") if args[0] == "ss" else (1, "", "")

    def change(self, *, check: bool = False, **given: Any) -> FirewallChange:
        wanted = {"ports": [587], "agent_user": getpass.getuser(), "outgoing": {"restrict_smtp": False}} | given
        validated = ArgumentSpecValidator(ARGUMENTS).validate({"shut_out": {"enabled": False}} | wanted)
        assert not validated.error_messages
        change = FirewallChange(
            self.run, "/usr/sbin/nft", validated.validated_parameters, warn=self.warned.append, check_mode=check
        )
        change.filter = cast(Any, self.filter)
        change.shut_out = cast(Any, ShutOut())
        return change

    def confirmed(self, **given: Any) -> dict[str, Any]:
        self.connection = SshConnection(client="192.0.2.1", client_port=50_001, server="192.0.2.2", server_port=22)
        try:
            return self.change(step="confirm", connection=str(HOME), **given).confirm()
        finally:
            self.connection = HOME


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(tmp_path, monkeypatch)


def test_others_let_in_before_the_rules_are_tried_and_shut_only_when_they_are_kept(host: Host) -> None:
    host.others = [OtherFilter(host.done, {"22/tcp", "2525/tcp"}, {"2525/tcp"})]
    planned = host.change(check=True).apply()
    assert host.done == []
    result = host.change().apply()
    assert host.done == ["ufw opens 587/tcp", "loaded for 45 s"]
    assert planned["diff"] == result["diff"]
    assert {"before": "22/tcp\n2525/tcp\n", "after": "22/tcp\n587/tcp\n"}.items() <= result["diff"][-1].items()
    host.done.clear()
    assert host.confirmed()["changed"]
    assert host.done == ["disarmed", "kept", "ufw closes 2525/tcp"]

    host.done.clear()
    for check in (True, False):
        again = host.change(check=check).apply()
        assert (again["changed"], again["pending"], again["diff"]) == (False, False, [])
    assert host.done == []


def test_others_alone_need_no_proof(host: Host) -> None:
    host.change().apply()
    host.confirmed()
    host.done.clear()
    host.others = [OtherFilter(host.done, set(), set())]
    result = host.change().apply()
    assert (result["changed"], result["pending"]) == (True, False)
    assert host.done == ["ufw opens 587/tcp", "kept"]


@pytest.mark.parametrize("check", [True, False])
def test_another_filter_that_may_not_be_changed_is_named_with_the_ports(host: Host, check: bool) -> None:
    host.others = [OtherFilter(host.done, {"22/tcp"}, set())]
    extra = [{"port": 51820, "protocol": "udp", "sources": []}]
    with pytest.raises(
        FirewallError, match=r"ufw is active on this host and does not let in 51820/udp, 587/tcp, which"
    ):
        host.change(check=check, beside={"open": False}, extra_ports=extra).apply()
    assert host.done == []


def test_rules_that_are_refused_are_not_confirmed(host: Host) -> None:
    host.filter.refuses = True
    with pytest.raises(FirewallError, match="the rules are refused: line 3"):
        host.change().apply()
    with pytest.raises(FirewallError, match="nothing was applied that could be confirmed; run again"):
        host.confirmed()
    assert "kept" not in host.done


def test_rules_that_are_not_live_any_more_are_not_kept(host: Host) -> None:
    host.change().apply()
    host.filter.rules = ""
    with pytest.raises(FirewallError, match="the old rules came back") as caught:
        host.confirmed()
    assert caught.value.too_late
    assert "kept" not in host.done


def test_the_connection_that_was_there_before_proves_nothing(host: Host) -> None:
    host.change().apply()
    with pytest.raises(FirewallError, match="no fresh SSH connection was made"):
        host.change(step="confirm", connection=str(HOME)).confirm()
    assert "disarmed" not in host.done
    # On the host itself nobody can be locked out.
    host.connection = None
    assert host.change(step="confirm", connection="").confirm()["changed"]


@pytest.mark.parametrize(
    ("client", "sources", "let_in"),
    [
        ("192.0.2.1", ["192.0.2.0/24"], True),
        ("192.0.2.1", ["2001:db8::/32", "198.51.100.7"], False),
        ("2001:db8::1", ["192.0.2.0/24", "2001:db8::/32"], True),
        ("fe80::1%eth0", ["fe80::/10"], True),
        ("fe80::1%eth0", ["2001:db8::/32"], False),
        ("192.0.2.1", [], True),
    ],
)
def test_the_operator_is_never_locked_out(host: Host, client: str, sources: list[str], let_in: bool) -> None:
    host.connection = SshConnection(client=client, client_port=50_000, server="192.0.2.2", server_port=22)
    change = host.change(ssh={"ports": [22], "sources": sources})
    if let_in:
        assert change.apply()["pending"]
        return
    with pytest.raises(FirewallError) as caught:
        change.apply()
    address = client.partition("%")[0]
    assert str(caught.value) == (
        f"relay_firewall_ssh.sources: {address}, the address that this run comes from, is in none of "
        f"{', '.join(sources)}: it would lock you out, so the packet filter is left as it was"
    )
    assert host.done == []


def test_services_that_would_be_shut_are_named(host: Host) -> None:
    host.change(extra_ports=[{"port": 9100, "protocol": "tcp", "sources": ["192.0.2.0/24"]}]).apply()
    (warning,) = host.warned
    assert warning.startswith("port 8080 (java, nginx) has a listener and will be closed from outside; name it in")
    host.warned.clear()
    host.filter.rules = ""
    host.change(other_ports="accept").apply()
    assert host.warned == []


def test_a_udp_port_of_the_number_keeps_no_tcp_service_open(host: Host) -> None:
    host.change(extra_ports=[{"port": 9100, "protocol": "udp", "sources": []}]).apply()
    assert [warning.split()[1] for warning in host.warned] == ["8080", "9100"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"proof": {"seconds": 9}}, "relay_firewall_proof.seconds: 9 is not between 10 and 55"),
        ({"proof": {"seconds": 56}}, "relay_firewall_proof.seconds: 56 is not between 10 and 55"),
        (
            {"outgoing": {"smtp_users": ["no body"]}},
            "relay_firewall_outgoing.smtp_users: no user 'no body' on this host",
        ),
        ({"shut_out": {"enabled": True, "never": ["nowhere"]}}, "relay_firewall_shut_out.never"),
        ({"shut_out": {"enabled": True}, "rates": {"exempt": ["10.0.0.1/8/9"]}}, "relay_firewall_rates.exempt"),
        ({"ssh": {"sources": ["192.0.2.1; flush ruleset"]}}, "relay_firewall_ssh.sources"),
    ],
)
def test_what_cannot_be_names_the_variable_and_changes_nothing(host: Host, given: dict[str, Any], words: str) -> None:
    with pytest.raises(FirewallError) as caught:
        host.change(**given).apply()
    assert words in str(caught.value)
    assert host.done == []


def test_whom_the_operator_trusts_elsewhere_is_never_shut_out(host: Host) -> None:
    change = host.change(
        shut_out={"enabled": True, "never": ["192.0.2.9"]},
        ssh={"ports": [22], "sources": ["192.0.2.0/24"]},
        rates={"exempt": ["2001:db8::/32"]},
    )
    never = change.never_shut_out()
    assert "2001:db8::/32" in never
    assert "192.0.2.0/24" in never


def test_another_filter_that_fails_is_a_sentence(host: Host) -> None:
    other = OtherFilter(host.done, set(), set())
    host.others = [other]

    def refuse(opened: Any, closed: Any) -> None:
        raise ForeignFilterError("ufw is active on this host and could not open 587/tcp: locked")

    other.change = refuse  # type: ignore[method-assign]
    with pytest.raises(FirewallError, match="could not open 587/tcp: locked"):
        host.change().apply()
    assert host.done == []
