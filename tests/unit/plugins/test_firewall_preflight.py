# SPDX-License-Identifier: GPL-3.0-or-later
"""The variables of relay_firewall, judged on the controller: each fault by the name of its variable, all at once."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.postroad.relay.plugins.plugin_utils.firewall_preflight import firewall_problems

ROLE = Path(__file__).parents[3] / "roles" / "relay_firewall"


def problems(**changes: Any) -> list[str]:
    """What is said of the role's defaults with these changes, each a variable or keys of one."""
    values: dict[str, Any] = yaml.safe_load((ROLE / "defaults/main.yml").read_text()) | {"relay_firewall_ports": [587]}
    for name, change in changes.items():
        variable = f"relay_firewall_{name}"
        values[variable] = values[variable] | change if isinstance(change, dict) else change
    return list(firewall_problems(values))


def test_the_defaults_are_good() -> None:
    assert problems() == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"ports": [587, 70000]}, "relay_firewall_ports: 70000 is not a port"),
        ({"ssh": {"ports": [0]}}, "relay_firewall_ssh.ports: 0 is not a port"),
        ({"ssh": {"sources": ["198.51.100.1/24"]}}, "relay_firewall_ssh.sources: '198.51.100.1/24' is not an address"),
        ({"rates": {"burst": 0}}, "relay_firewall_rates.burst: 0 is not between"),
        ({"rates": {"exempt": ["anna"]}}, "relay_firewall_rates.exempt: 'anna' is not an address"),
        ({"extra_ports": [{"port": 80, "sources": ["x"]}]}, "relay_firewall_extra_ports.sources: 'x'"),
        ({"extra_rules": {"incoming": ["accept } }"]}}, "relay_firewall_extra_rules.incoming: 'accept } }' has braces"),
        ({"extra_rules": {"outgoing": [" "]}}, "relay_firewall_extra_rules.outgoing: ' ' is not one line"),
        ({"shut_out": {"never": ["x"]}}, "relay_firewall_shut_out.never: 'x' is not an address"),
        ({"shut_out": {"within": 0}}, "relay_firewall_shut_out.within: 0 is not between 1 and 2592000"),
        ({"proof": {"seconds": 60}}, "relay_firewall_proof.seconds: 60 is not between 10 and 55"),
        ({"proof": {"seconds": 9}}, "relay_firewall_proof.seconds: 9 is not between 10 and 55"),
    ],
)
def test_a_fault_is_named(changes: dict[str, Any], expected: str) -> None:
    (problem,) = problems(**changes)
    assert problem.startswith(expected)


def test_one_fault_does_not_hide_another() -> None:
    found = problems(ports=[0], ssh={"sources": ["x"]}, rates={"burst": -1}, proof={"seconds": 600})
    assert [problem.split(":")[0] for problem in found] == [
        "relay_firewall_ports",
        "relay_firewall_ssh.sources",
        "relay_firewall_rates.burst",
        "relay_firewall_proof.seconds",
    ]


def test_the_service_takes_what_the_preflight_lets_pass() -> None:
    from relay_agent.shut_out.settings import Settings

    for values in (
        {"after_shut_outs": 1000, "after_accounts": 1000, "within": 2_592_000, "at_most": 2_592_000},
        {"after_shut_outs": 1, "after_accounts": 1, "within": 1, "at_most": 1},
    ):
        assert problems(shut_out=values) == []
        Settings.parsed(values, "settings")
