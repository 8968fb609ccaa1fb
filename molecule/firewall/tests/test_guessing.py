# SPDX-License-Identifier: GPL-3.0-or-later
"""Somebody on the laptop guesses passwords: the agent's failures become rules of the packet filter."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from lab.topology import Lab
from traffic.filters import SHUT_OUT

WHO = 'for set in shut_out4 shut_out6; do nft -j list set inet postroad $set | grep -o \'"val": "[^"]*"\'; done; true'
"""Prints every address that is in the sets."""


@pytest.fixture(autouse=True)
def failures(guessed: dict[tuple[str, int], list[str]]) -> None:
    assert guessed["relay1", 4][:2] == ["535", "535"]


@pytest.mark.parametrize("version", [4, 6])
def test_the_address_is_dropped_by_the_filter(
    version: int, on: Callable[[str], Any], lab: Lab, reaches: Callable[[str, int], bool]
) -> None:
    laptop, relay = lab.host("laptop").address, lab.host("relay1").address
    shut_out = laptop.ipv4 if version == 4 else laptop.ipv6.rsplit("::", 1)[0] + "::"
    assert f"{shut_out} timeout" in on("relay1").check_output(SHUT_OUT.format(version))
    target = relay.ipv4 if version == 4 else relay.ipv6
    assert not reaches(target, 587)
    assert not reaches(target, 465)
    # SSH is not concerned, and the operator is elsewhere.
    assert reaches(target, 22)
    listed = json.loads(on("relay1").check_output("relay-agent shut-out list --json"))
    assert shut_out in [entry["address"] for entry in listed]


def test_who_is_never_shut_out_is_not(
    on: Callable[[str], Any], lab: Lab, reaches: Callable[[str, int], bool], guessed: dict[tuple[str, int], list[str]]
) -> None:
    assert guessed["relay2", 4] == guessed["relay2", 6] == ["535"] * 4
    assert all("elements" not in on("relay2").check_output(SHUT_OUT.format(version)) for version in (4, 6))
    assert reaches(lab.host("relay2").address.ipv4, 587)


def test_the_service_has_one_privilege_and_no_secret(on: Callable[[str], Any]) -> None:
    for relay in ("relay1", "relay2"):
        host = on(relay)
        pid = host.check_output("systemctl show --property=MainPID --value postroad-shut-out.service")
        status = host.check_output(f"cat /proc/{pid}/status")
        capabilities = {line.split()[0]: int(line.split()[1], 16) for line in status.splitlines() if "Cap" in line}
        assert set(capabilities.values()) <= {0, 1 << 12}  # CAP_NET_ADMIN
        assert capabilities["CapEff:"] == 1 << 12
        assert int(status.split("Uid:")[1].split()[0]) != 0
        readable = f"setpriv --reuid $(stat -c %u /proc/{pid}) --clear-groups cat /etc/postroad/accounts.toml"
        assert host.run(readable).rc != 0
        assert (
            host.run(
                'runuser -u nobody -- python3 -c "import socket as s; s.socket(s.AF_UNIX, s.SOCK_DGRAM)'
                ".sendto(b'x', '/run/postroad-shut-out/notices')\""
            ).rc
            != 0
        )


def test_hostile_notices_shut_nobody_out(on: Callable[[str], Any]) -> None:
    host = on("relay1")
    before = host.check_output(WHO)
    host.check_output(
        "python3 - <<'EOF'\n"
        "import json, socket\n"
        "channel = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\n"
        "peers = '1.2.3.4 } ; flush ruleset ; {', '1.2.3.0/24', '::1', 'fe80::1', 5, None, '9' * 5000, '127.0.0.1'\n"
        "for peer in peers:\n"
        "    for number in range(3):\n"
        "        notice = {'peer': peer, 'account': 16 * str(number), 'shut_out': 900}\n"
        "        channel.sendto(json.dumps(notice).encode(), '/run/postroad-shut-out/notices')\n"
        "for junk in (b'', b'[' * 1000, bytes(range(256)), b'{}'):\n"
        "    channel.sendto(junk, '/run/postroad-shut-out/notices')\n"
        "EOF"
    )
    log = "journalctl --unit postroad-shut-out.service --output cat"
    # On a busy machine it takes longer until they are looked at; those that come in a second batch have another second.
    host.check_output(f"for try in $(seq 100); do {log} | grep -q notices_refused && break; sleep 0.2; done; sleep 1")
    assert host.check_output(WHO) == before
    assert host.check_output("systemctl is-active postroad-shut-out.service") == "active"
    assert "notices_refused" in host.check_output(log)
