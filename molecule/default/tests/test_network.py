# SPDX-License-Identifier: GPL-3.0-or-later
"""What the network lets through: the provider's block is real, and a relay shows its ports and no others."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from lab.topology import Lab
from traffic.relays import LISTENERS

# Opens connections side by side and prints what became of each.
_SCAN = """
import asyncio, json, sys
async def attempt(address, port, seconds):
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection(address, port), seconds)
    except asyncio.TimeoutError:
        return "silence"
    except ConnectionRefusedError:
        return "refused"
    except OSError as error:
        return str(error)
    writer.close()
    return "open"
async def main(address, ports, seconds):
    gate = asyncio.Semaphore(100)
    async def gated(port):
        async with gate:
            return await attempt(address, port, seconds)
    print(json.dumps(dict(zip(ports, await asyncio.gather(*map(gated, ports))))))
asyncio.run(main(sys.argv[1], json.loads(sys.argv[2]), float(sys.argv[3])))
"""

Scan = Callable[..., dict[int, str]]


@pytest.fixture(scope="module")
def scan(on: Callable[[str], Any]) -> Scan:
    """Tries ports from a host: port to "open", "refused", "silence"."""

    def run(source: str, address: str, ports: list[int], *, seconds: float = 3.0) -> dict[int, str]:
        command = "python3 -c %s %s %s %s"
        answer = on(source).check_output(command, _SCAN, address, json.dumps(ports), str(seconds))
        return {int(port): result for port, result in json.loads(answer).items()}

    return run


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_port_25_is_blocked_from_the_laptop(family: str, scan: Scan, lab: Lab) -> None:
    mx = getattr(lab.hosts["mx"].address, family)
    assert scan("laptop", mx, [25]) == {25: "silence"}
    # It is the provider: from elsewhere the mail host answers.
    assert scan("dns", mx, [25]) == {25: "open"}


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
@pytest.mark.parametrize("relay", ["relay1", "relay2"])
def test_a_relay_shows_its_ports_and_no_others(relay: str, family: str, scan: Scan, lab: Lab) -> None:
    others = [*range(1, 1025), 3306, 5432, 5353, 6379, 8080, 8443, 9090, 9100]
    ports = sorted({*LISTENERS, *others} - {25})
    results = scan("laptop", getattr(lab.hosts[relay].address, family), ports)
    assert {port for port, result in results.items() if result == "open"} == {22, *LISTENERS}


@pytest.mark.parametrize("relay", ["relay1", "relay2"])
def test_port_25_of_a_relay_is_not_for_submission(relay: str, scan: Scan, lab: Lab) -> None:
    assert scan("dns", lab.hosts[relay].address.ipv4, [25]) != {25: "open"}


@pytest.mark.parametrize("relay", ["relay1", "relay2"])
def test_only_the_agent_may_talk_to_port_25(relay: str, scan: Scan, lab: Lab) -> None:
    assert scan(relay, lab.hosts["mx"].address.ipv4, [25]) != {25: "open"}
