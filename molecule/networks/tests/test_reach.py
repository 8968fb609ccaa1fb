# SPDX-License-Identifier: GPL-3.0-or-later
"""playbooks/reach.yml, which looks at both relays from the laptop behind the router and from a host in the open."""

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from lab.topology import Lab
from traffic.fixtures import STATE
from traffic.operator import Run

Network = Callable[..., AbstractContextManager[None]]

TLS_PORTS = "443, 465, 2465"
STARTTLS_PORTS = "587, 2525, 8025"
EVERY_PORT = f"{STARTTLS_PORTS}, {TLS_PORTS}"


@dataclass(frozen=True)
class Seen:
    """A run of the playbook, and what it wrote."""

    run: Run
    record: dict[str, Any]

    def what(self, vantage: str, port: int, family: str = "ipv4", relay: str = "relay1") -> str:
        """What a port is from a vantage."""
        (one,) = [each for each in self.record["relays"] if each["relay"] == relay]
        (entry,) = [
            each for each in one["ports"] if (each["vantage"], each["port"], each["family"]) == (vantage, port, family)
        ]
        return str(entry["what"])

    def told(self, level: str) -> list[str]:
        """The findings of a level."""
        return [
            f"{each['host']}: {each['about']}: {each['text']}"
            for each in self.record["findings"]
            if each["level"] == level
        ]

    def works_everywhere(self) -> set[tuple[int, str]]:
        """The settings for everybody."""
        return {(each["port"], each["security"]) for each in self.record["everywhere"]}


@pytest.fixture
def reach(play: Callable[..., Run], tmp_path: Path) -> Callable[..., Seen]:
    """Runs it from the laptop and from mx."""

    def run(**variables: Any) -> Seen:
        file = tmp_path / "reach.json"
        done = play("reach", **{"relay_reach_from": ["laptop", "mx"], "relay_reach_json": str(file)} | variables)
        assert file.exists(), done.output
        assert done.changes == {}
        return Seen(done, json.loads(file.read_text()))

    return run


def test_two_relays_from_two_places(reach: Callable[..., Seen], laptop: Any) -> None:
    files = "find /root /home /tmp /var/tmp -newer /root/before -not -path '/root/.ssh*' -type f"
    laptop.check_output("touch /root/before")
    seen = reach(relay_reach_ports=[25])
    assert seen.run.status == 0, seen.run.output
    assert "2 relays from 2 vantages: every port can be used from everywhere" in seen.run.output
    assert "✓ relay1, relay2" in seen.run.output
    assert seen.works_everywhere() == {
        *((port, "STARTTLS") for port in (587, 2525, 8025)),
        *((port, "TLS") for port in (465, 2465, 443)),
    }
    # Port 25 is none of the relay's: what the network does with it is shown, and is no finding.
    assert (seen.what("laptop", 25), seen.what("mx", 25)) == ("silent", "refused")
    assert all(each["statement"]["key"] for each in seen.record["relays"])
    assert "\x1b" not in seen.run.output
    assert laptop.check_output(files) == ""
    assert laptop.check_output("pgrep -fc postroad-reac[h] || true") == "0"


def test_a_person_without_root_can_look(reach: Callable[..., Seen], laptop: Any) -> None:
    laptop.check_output(
        "useradd --create-home guest && mkdir -p /home/guest/.ssh && "
        "cp /root/.ssh/authorized_keys /home/guest/.ssh/ && chown -R guest /home/guest"
    )
    try:
        seen = reach(relay_reach_from=["laptop"], ansible_user="guest")
        assert seen.run.status == 0, seen.run.output
        assert laptop.check_output("find /home/guest -newer /home/guest/.ssh/authorized_keys -type f") == ""
    finally:
        laptop.check_output("pkill -u guest; userdel --remove guest 2>&1 || true")


def test_the_ports_of_mail_are_dropped(network: Network, reach: Callable[..., Seen]) -> None:
    with network("tcp dport { 25, 465, 587 } drop"):
        seen = reach()
    assert seen.run.status == 0
    assert [seen.what(vantage, 587) for vantage in ("laptop", "mx")] == ["silent", "open"]
    assert seen.told("notice") == [
        f"{relay}: ports: from laptop: ports 587, 465: silently dropped: no answer at all"
        for relay in ("relay1", "relay2")
    ]
    assert (443, "TLS") in seen.works_everywhere()
    assert not {(465, "TLS"), (587, "STARTTLS")} & seen.works_everywhere()


def test_starttls_is_taken_out(network: Network, reach: Callable[..., Seen]) -> None:
    with network(redirect=STARTTLS_PORTS, middlebox="strip"):
        seen = reach()
    assert seen.run.status == 0
    assert seen.what("laptop", 587) == "stripped"
    assert all("intercepted: from laptop: ports 587, 2525, 8025: " in each for each in seen.told("notice"))
    assert len(seen.told("notice")) == 2


def test_somebody_reads_along(network: Network, reach: Callable[..., Seen]) -> None:
    with network(redirect=TLS_PORTS, middlebox="own /root/own.pem"):
        seen = reach(relay_reach_fail_on="notice")
        assert seen.run.status != 0
        assert seen.what("laptop", 443) == "certificate"
        assert all("proxy.isp.test" in each for each in seen.told("notice"))


def test_a_proxy_whose_authority_is_trusted_shows_another_key(
    network: Network, router: Any, reach: Callable[..., Seen]
) -> None:
    """As in a company that puts an authority of its own on every machine: only the relay's signed word tells."""
    for kind in ("pem", "key"):
        router.check_output("echo %s > /root/trusted.%s", (STATE / f"private_ca/ca.{kind}").read_text(), kind)
    router.check_output(
        "cd /root && openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout p.key -out p.csr "
        "-subj /CN=relay1.postroad.test 2>/dev/null && echo subjectAltName=DNS:relay1.postroad.test > p.ext && "
        "openssl x509 -req -in p.csr -CA trusted.pem -CAkey trusted.key -days 2 -extfile p.ext -out p.crt 2>&1 && "
        "cat p.crt p.key > proxy.pem"
    )
    with network(redirect="443", middlebox="own /root/proxy.pem"):
        seen = reach()
    assert seen.run.status != 0
    (told,) = [each for each in seen.told("trouble") if each.startswith("relay1")]
    assert told.startswith(
        "relay1: key: from laptop: port 443: the certificate is trusted there, but its key is another"
    )


def test_somebody_else_answers_on_all_ports(network: Network, reach: Callable[..., Seen]) -> None:
    with network(redirect=EVERY_PORT, middlebox="portal"):
        seen = reach()
    assert seen.run.status != 0
    assert "relay1, relay2: see the table above" in seen.run.output
    assert all("from laptop: somebody else answers on all ports: a login page" in each for each in seen.told("trouble"))
    assert seen.works_everywhere() == set()


def test_a_relay_that_one_network_does_not_let_through(network: Network, lab: Lab, reach: Callable[..., Seen]) -> None:
    address = lab.hosts["relay1"].address
    with network(f"ip daddr {address.ipv4} drop", f"ip6 daddr {address.ipv6} drop"):
        seen = reach()
    assert seen.run.status != 0
    assert seen.told("trouble") == [
        "relay1: reach: from laptop: not reachable on any port: silently dropped: no answer at all"
    ]
    assert "✓ relay2" in seen.run.output


def test_siblings_that_differ(network: Network, lab: Lab, reach: Callable[..., Seen]) -> None:
    with network(f"ip daddr {lab.hosts['relay1'].address.ipv4} tcp dport 443 reject with tcp reset"):
        seen = reach()
        strict = reach(relay_reach_fail_on="difference")
    assert (seen.run.status, strict.run.status != 0) == (0, True)
    (told,) = seen.told("difference")
    assert told.startswith("relay1: ports: from laptop: port 443 over IPv4: refused")
    assert told.endswith("from there it works at relay2")
    assert "IPv4 refused, IPv6 TLS" in seen.run.output


def test_only_ipv6(laptop: Any, reach: Callable[..., Seen]) -> None:
    route = laptop.check_output("ip -4 route show default")
    laptop.check_output("ip -4 route del default")
    try:
        seen = reach()
    finally:
        laptop.check_output(f"ip -4 route add {route}")
    assert seen.run.status == 0
    assert "laptop has no way to any relay over IPv4" in seen.run.output
    assert (443, "TLS") in seen.works_everywhere()


def test_a_vantage_that_is_away(reach: Callable[..., Seen]) -> None:
    seen = reach(relay_reach_from=["laptop", "nowhere.postroad.test"])
    assert seen.run.status != 0
    (told,) = seen.told("trouble")
    assert told.startswith("nowhere.postroad.test: vantage: it cannot be reached: ")
    assert seen.what("laptop", 443) == "open"


def test_check_mode_looks_and_writes_nothing(play: Callable[..., Run], tmp_path: Path) -> None:
    done = play("reach", check=True, relay_reach_from="laptop", relay_reach_json=str(tmp_path / "reach.json"))
    assert done.status == 0, done.output
    assert "every port can be used" in done.output
    assert "reach.json was not written" in done.output
    assert not list(tmp_path.iterdir())
