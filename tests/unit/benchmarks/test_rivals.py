# SPDX-License-Identifier: GPL-3.0-or-later
"""The configurations of both relays."""

from __future__ import annotations

from pathlib import Path

from benchmarks.rivals.agent import Agent
from benchmarks.rivals.postfix import SETTINGS, main_cf, master_cf
from benchmarks.rivals.relay import Certificate, Ports, free_ports, greets, make_certificate
from relay_agent.config.load import inspect_config


def test_agents_configuration_is_good(tmp_path: Path) -> None:
    agent = Agent(tmp_path, make_certificate(tmp_path), 2525)
    inspection = inspect_config(agent.configure())
    assert inspection.config is not None
    assert not inspection.problems


def test_postfix_listens_and_delivers_on_loopback_only(tmp_path: Path) -> None:
    text = main_cf(tmp_path, Certificate(tmp_path / "c", tmp_path / "k"), 2525)
    settings = dict(line.split(" = ", 1) for line in text.splitlines())
    assert settings["relayhost"] == "[127.0.0.1]:2525"
    assert settings["inet_interfaces"] == "127.0.0.1"
    assert settings["queue_directory"].startswith(str(tmp_path))
    assert all(settings[name] == value for name, (value, _) in SETTINGS.items())
    services = [line.split()[0] for line in master_cf(Ports(1, 2, 3)).splitlines()]
    assert services[:3] == ["127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"]
    assert "pipe" not in text


def test_ports_are_free_and_different() -> None:
    ports = free_ports(5)
    assert len(set(ports)) == 5
    assert not any(greets(port, 0.2) for port in ports)
