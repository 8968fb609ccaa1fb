# SPDX-License-Identifier: GPL-3.0-or-later
"""agent_generation as Ansible runs it: it lists, and says what there is not. Going back itself: test_going_back.py."""

import json

from tests.unit.plugins.machine import Machine


def test_a_bare_host_has_none(machine: Machine) -> None:
    assert machine.module("agent_generation", {})["generations"] == []
    result = machine.module("agent_generation", {"to": "previous"})
    assert result["failed"]
    assert "there is no generation 'previous' here" in result["msg"]


def test_those_that_there_are_are_listed(machine: Machine) -> None:
    places = {"/opt/postroad/releases/aaaaaaaa": "release.json", "/opt/postroad/generations/3": "manifest.json"}
    for directory, name in places.items():
        machine.path(directory).mkdir(parents=True)
        manifest = {"release": "aaaaaaaa", "files": [], "whole": [], "applied": 1_700_000_000.0}
        (machine.path(directory) / name).write_text(json.dumps(manifest))
    machine.path("/opt/postroad/generations/history.json").write_text("[3]")
    result = machine.module("agent_generation", {})
    assert result["changed"] is False
    assert result["generations"] == [{"id": 3, "release": "aaaaaaaa", "applied": 1_700_000_000.0, "current": True}]
    assert result["listing"] == ["3: release aaaaaaaa, first used 2023-11-14 22:13:20 UTC (in use)"]
    assert machine.module("agent_generation", {"to": "3"})["changed"] is False
