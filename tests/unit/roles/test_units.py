# SPDX-License-Identifier: GPL-3.0-or-later
"""The systemd units, rendered as Ansible renders them."""

from pathlib import Path
from typing import Any

import pytest
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from benchmarks.rivals.agent import MALLOC

TEMPLATES = Path(__file__).parents[3] / "roles" / "relay_agent" / "templates"


def render(name: str, **variables: Any) -> str:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), trim_blocks=True, keep_trailing_newline=True, undefined=StrictUndefined
    )
    return environment.get_template(f"{name}.j2").render(variables)


def values(unit: str, key: str) -> list[str]:
    return [line.partition("=")[2] for line in unit.splitlines() if line.startswith(f"{key}=")]


def test_a_port_without_an_address_serves_both_families() -> None:
    listeners: list[dict[str, Any]] = [
        {"port": 587, "tls": "starttls"},
        {"port": 465, "tls": "implicit", "address": ""},
        {"port": 2525, "tls": "starttls", "address": "198.51.100.1"},
        {"port": 443, "tls": "implicit", "address": "2001:db8::1"},
    ]
    unit = render("relay-agent.socket", relay_agent_listeners=listeners)
    assert values(unit, "ListenStream") == ["587", "465", "198.51.100.1:2525", "[2001:db8::1]:443"]
    assert values(unit, "BindIPv6Only") == ["both"]
    assert "\n\n\n" not in unit


def test_the_agent_runs_without_privilege() -> None:
    unit = render("relay-agent.service", relay_agent_service={"open_files": 1000})
    assert values(unit, "User") == ["postroad"]
    assert values(unit, "CapabilityBoundingSet") == [""]
    assert values(unit, "AmbientCapabilities") == [""]
    assert values(unit, "NoNewPrivileges") == ["true"]
    assert values(unit, "ProtectSystem") == ["strict"]
    assert values(unit, "Type") == ["notify"]
    assert values(unit, "RestartPreventExitStatus") == ["2"]


def test_the_benchmark_measures_with_the_memory_settings_of_the_unit() -> None:
    unit = render("relay-agent.service", relay_agent_service={"open_files": 1000})
    given = dict(word.split("=", 1) for line in values(unit, "Environment") for word in line.split())
    assert {name: value for name, value in given.items() if name.startswith("MALLOC_")} == MALLOC


@pytest.mark.parametrize(
    ("limits", "files", "memory"), [({"open_files": 1000}, "1000", []), ({"memory_max": "1G"}, "65536", ["1G"])]
)
def test_limits(limits: dict[str, Any], files: str, memory: list[str]) -> None:
    unit = render("relay-agent.service", relay_agent_service=limits)
    assert values(unit, "LimitNOFILE") == [files]
    assert values(unit, "MemoryMax") == memory


def test_the_renewal_keeps_as_little_of_root_as_it_takes() -> None:
    unit = (TEMPLATES.parents[1] / "relay_tls/files/relay-certificate.service").read_text()
    assert values(unit, "Type") == ["oneshot"]
    assert values(unit, "CapabilityBoundingSet") == ["CAP_NET_BIND_SERVICE CAP_CHOWN CAP_FOWNER"]
    assert values(unit, "ProtectSystem") == ["strict"]
    assert values(unit, "ReadWritePaths") == ["/etc/postroad/tls"]


def test_the_renewal_is_tried_more_than_once_a_day_and_after_a_pause() -> None:
    unit = (TEMPLATES.parents[1] / "relay_tls/files/relay-certificate.timer").read_text()
    assert values(unit, "OnCalendar") == ["*-*-* 00/6:00:00"]
    assert values(unit, "Persistent") == ["true"]
