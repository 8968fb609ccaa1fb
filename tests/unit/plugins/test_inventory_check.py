# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with a host's variables, in words that name the variable."""

import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.postroad.relay.plugins.plugin_utils.inventory_check import (
    agent_problems,
    read_playbook_specs,
    read_specs,
    spec_problems,
    unknown_variables,
)

from relay_agent.config.load import ConfigError, parse_config

ROOT = Path(__file__).parents[3]
SPECS = read_specs(ROOT / "roles")
AGENT = SPECS["relay_agent"]
GOOD: dict[str, Any] = {"relay_agent_hostname": "relay.example.org"}


def parse(text: str) -> list[tuple[str, str]]:
    try:
        parse_config(text, "agent.toml")
    except ConfigError as error:
        return [(problem.key, problem.problem) for problem in error.problems]
    return []


def problems(**variables: Any) -> list[str]:
    """As the preflight judges the agent's variables, named without their prefix."""
    values = GOOD | {f"relay_agent_{name}": value for name, value in variables.items()}
    converted, found = spec_problems(values, AGENT)
    return found or list(agent_problems(converted, parse))


def test_the_defaults_are_good() -> None:
    assert problems() == []


def test_numbers_as_text_are_taken() -> None:
    assert problems(listeners=[{"port": "587", "tls": "starttls"}], delivery={"retry_for": 86400}) == []


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("relay_agent_listners", "relay_agent_listners: did you mean relay_agent_listeners?"),
        ("relay_tls_certificat", "relay_tls_certificat: did you mean relay_tls_certificate?"),
        ("relay_agnet_routes", "relay_agnet_routes: did you mean relay_agent_routes?"),
        ("relay_agent_antivirus_daemon", "relay_agent_antivirus_daemon: relay_agent has no such variable"),
    ],
)
def test_a_misspelt_variable(name: str, expected: str) -> None:
    assert list(unknown_variables([name, "relay_agent_routes"], SPECS)) == [expected]


def test_a_misspelt_variable_of_the_verification() -> None:
    specs = SPECS | {"relay_verify": read_playbook_specs(ROOT / "playbooks")["relay_verify"]}
    assert list(unknown_variables(["relay_verify_probe", "relay_verify_vantge"], specs)) == [
        "relay_verify_vantge: did you mean relay_verify_vantage?"
    ]


def test_a_misspelt_variable_of_the_rollout() -> None:
    specs = SPECS | read_playbook_specs(ROOT / "playbooks")
    assert list(unknown_variables(["relay_rollout_serial", "relay_rollout_confirm_in"], specs)) == [
        "relay_rollout_confirm_in: did you mean relay_rollout_confirm_within?"
    ]


def test_variables_of_playbooks_are_found_in_plays_and_in_files_of_tasks(tmp_path: Path) -> None:
    check = [{"ansible.builtin.validate_argument_spec": {"argument_spec": {"relay_one_x": {"type": "str"}}}}]
    (tmp_path / "tasks").mkdir()
    (tmp_path / "one.yml").write_text(json.dumps([{"hosts": "relays", "tasks": check}, {"import_playbook": "x.yml"}]))
    check = [{"postroad.relay.playbook_variables": {"argument_spec": {"relay_two_y": {"type": "int"}}}}]
    (tmp_path / "tasks" / "some.yml").write_text(json.dumps(check))
    assert read_playbook_specs(tmp_path) == {
        "relay_one": {"relay_one_x": {"type": "str"}},
        "relay_two": {"relay_two_y": {"type": "int"}},
    }


def test_a_misspelt_variable_of_the_state() -> None:
    specs = SPECS | read_playbook_specs(ROOT / "playbooks")
    assert list(unknown_variables(["relay_status_siblings", "relay_status_vantges"], specs)) == [
        "relay_status_vantges: did you mean relay_status_vantages?"
    ]


def test_variables_of_others_are_left_alone() -> None:
    names = ["relay_verify_probe", "relay_count", "ansible_host", "_relay_agent_staged", "relay_firewall_ports"]
    assert list(unknown_variables(names, SPECS)) == []


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        (
            {"listeners": [{"port": 587, "tls": "starttls"}, {"prot": 1, "port": 465, "tls": "implicit"}]},
            "relay_agent_listeners[1].prot: is not a known key; did you mean port?",
        ),
        ({"listeners": [{"tls": "starttls"}]}, "relay_agent_listeners[0].port: is missing (TCP port)"),
        ({"listeners": [{"port": "x", "tls": "none"}]}, "relay_agent_listeners[0].port: 'x' is not a whole number"),
        (
            {"listeners": [{"port": 587, "tls": "tls"}]},
            "relay_agent_listeners[0].tls: 'tls' is not a choice (expected starttls, implicit, auto, none)",
        ),
        ({"listeners": 587}, "relay_agent_listeners[0]: '587' is not a table"),
        ({"submission": []}, "relay_agent_submission: [] is not a table"),
        (
            {"routes": [{"domains": ["*"], "via": [{"host": "h", "pasword": "x"}]}]},
            "relay_agent_routes[0].via[0].pasword: is not a known key; did you mean password?",
        ),
        (
            {"accounts": [{"name": "a", "password": "x"}, {"name": "A", "password": "y"}]},
            "relay_agent_accounts[1].name: A is there already as relay_agent_accounts[0]",
        ),
        (
            {"dkim": {"keys": [{"domain": "a.org", "selector": "s", "key": "PEM"}] * 2}},
            'relay_agent_dkim.keys[1].selector: "s" of a.org is relay_agent_dkim.keys[0] already',
        ),
        (
            {"accounts": [{"name": "alice"}]},
            "relay_agent_accounts[0] (alice): has no password (expected password or hash)",
        ),
        (
            {"accounts": [{"name": "alice", "password": ""}]},
            "relay_agent_accounts[0] (alice): has no password (expected password or hash)",
        ),
    ],
)
def test_each_fault_with_its_place(variables: dict[str, Any], expected: str) -> None:
    assert problems(**variables) == [expected]


@pytest.mark.parametrize("password", [["s3cret"], 1234, True])
def test_a_secret_of_the_wrong_type_is_not_shown(password: object) -> None:
    found = problems(accounts=[{"name": "alice", "password": password}])
    assert found == ["relay_agent_accounts[0].password: (secret) is not text (put it in quotes)"]


@pytest.mark.parametrize(
    ("variables", "place", "kind"),
    [
        ({"accounts": {"alice": "s3cret"}}, "accounts", "a list"),
        ({"accounts": ["alice:s3cret"]}, "accounts[0]", "a table"),
        ({"routes": "s3cret"}, "routes[0]", "a table"),
        ({"routes": [{"domains": ["*"], "via": {"password": "s3cret"}}]}, "routes[0].via", "a list"),
        ({"routes": [{"domains": ["*"], "via": ["s3cret"]}]}, "routes[0].via[0]", "a table"),
    ],
)
def test_a_secret_in_the_wrong_place_is_not_shown(variables: dict[str, Any], place: str, kind: str) -> None:
    assert problems(**variables) == [f"relay_agent_{place}: (secret) is not {kind}"]


@pytest.mark.parametrize("limits", [{"open_files": 1024}, {"memory_max": "1.5G"}, {"memory_max": 2**30}, {}])
def test_limits_that_systemd_takes(limits: dict[str, Any]) -> None:
    assert problems(service=limits) == []


@pytest.mark.parametrize(
    ("variables", "start"),
    [
        ({"listeners": [{"port": 25, "tls": "starttls"}]}, "relay_agent_listeners[0]: port 25 is for mail between"),
        (
            {"listeners": [{"port": 587, "tls": "starttls"}] * 2},
            "relay_agent_listeners[1].port: port 587 is taken by relay_agent_listeners[0] already",
        ),
        ({"delivery": {"retry_for": "5 days"}}, 'relay_agent_delivery.retry_for: "5 days" is not valid'),
        ({"service": {"open_files": -1}}, "relay_agent_service.open_files: -1 is too few (expected 1024 or more)"),
        ({"service": {"memory_max": "1 GB"}}, "relay_agent_service.memory_max: '1 GB' is not an amount of memory"),
        ({"hostname": "a b"}, 'relay_agent_hostname: "a b" is not valid'),
        (
            {"routes": [{"domains": ["*"], "via": [{"host": "h", "username": "u"}]}]},
            "relay_agent_routes[0].via[0]: username and password go together",
        ),
    ],
)
def test_what_the_agent_itself_would_refuse(variables: dict[str, Any], start: str) -> None:
    (found,) = problems(**variables)
    assert found.startswith(start)


def test_a_fault_in_one_section_does_not_hide_another() -> None:
    found = problems(delivery={"retry_for": "x"}, listeners=[{"port": 587, "tls": "starttls"}] * 2)
    assert [line.split(":")[0] for line in found] == ["relay_agent_delivery.retry_for", "relay_agent_listeners[1].port"]
