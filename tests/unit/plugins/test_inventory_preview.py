# SPDX-License-Identifier: GPL-3.0-or-later
"""What an inventory would put on its hosts, with secrets masked, and what is wrong between hosts."""

import tomllib
from pathlib import Path
from typing import Any

from ansible_collections.postroad.relay.plugins.plugin_utils.inventory_check import read_specs, spec_problems
from ansible_collections.postroad.relay.plugins.plugin_utils.inventory_preview import (
    HostPreview,
    Problem,
    between_hosts,
    host_files,
    render,
    route_problems,
    same_settings,
    write_files,
)

AGENT = read_specs(Path(__file__).parents[3] / "roles")["relay_agent"]
SECRET = "correct horse battery staple"
HOP = {"host": "smtp.example.net", "username": "me", "password": SECRET}


def values(hostname: str = "a.example.org", **variables: Any) -> dict[str, Any]:
    given = {f"relay_agent_{name}": value for name, value in variables.items()}
    return spec_problems({"relay_agent_hostname": hostname} | given, AGENT)[0]


def preview(host: str, **variables: Any) -> HostPreview:
    files = host_files(values(f"{host}.example.org", **variables))
    return HostPreview(host, files=files, hostname=f"{host}.example.org")


def test_files_without_their_secrets() -> None:
    accounts = [{"name": "anna", "password": SECRET, "addresses": ["a@b.example"]}, {"name": "bot", "hash": SECRET}]
    files = host_files(values(accounts=accounts, routes=[{"domains": ["*"], "via": [HOP]}]))
    assert files.keys() == {"agent.toml", "accounts.toml", "secrets/me@smtp.example.net-587.password"}
    assert SECRET not in "".join(files.values())
    assert tomllib.loads(files["agent.toml"])["hostname"] == "a.example.org"
    assert tomllib.loads(files["accounts.toml"])["account"][0]["addresses"] == ["a@b.example"]


def test_variables_that_make_no_configuration() -> None:
    assert host_files({}) == {}
    assert host_files(values(tls={"client_ca": "no PEM"})) == {}


def test_routes_that_lead_back() -> None:
    own = HOP | {"host": "A.example.org"}
    routes = [{"domains": ["*"], "via": [HOP, own]}]
    assert list(route_problems(values(routes=routes, delivery={"fallback_via": [own]}))) == [
        "relay_agent_routes[0].via[1].host: a.example.org is the relay itself, and mail would go round "
        "(name the next server)",
        "relay_agent_delivery.fallback_via[0].host: a.example.org is the relay itself, and mail would go round "
        "(name the next server)",
    ]


def test_two_hosts_of_one_name() -> None:
    hosts = [HostPreview("one", hostname="a.example.org"), HostPreview("two", hostname="A.example.org")]
    (problem,) = between_hosts(hosts)
    assert (problem.host, problem.variable) == ("two", "relay_agent_hostname")
    assert "is the name of one already" in problem.text


def test_names_in_a_closed_vault_are_not_compared() -> None:
    hosts = [HostPreview(name, hostname="(vault: relay_agent_hostname)") for name in ("one", "two")]
    assert list(between_hosts(hosts)) == []


def test_settings_that_would_differ_are_noted() -> None:
    hosts = [preview("a"), preview("b", submission={"max_recipients": 7}), preview("c")]
    same_settings(hosts)
    assert hosts[0].notes == hosts[2].notes
    assert hosts[1].notes[1] == "unlike its siblings: submission.max_recipients: 7 here, not set at a and c"
    assert hosts[0].notes[0] != hosts[1].notes[0]


def test_a_problem_from_a_sentence() -> None:
    assert Problem.told("a", "relay_agent_x[0].y: is: wrong") == Problem("a", "relay_agent_x[0].y", "is: wrong")
    assert Problem.told("a", "all wrong") == Problem("a", "", "all wrong")


def test_report() -> None:
    good = preview("a")
    same_settings([good])
    text = render([good], [], show_files=True)
    assert '    hostname = "a.example.org"' in text.splitlines()
    assert text.endswith("The inventory is good: 1 host.")
    bad = render([HostPreview("b")], [Problem("b", "relay_x", "is wrong")], show_files=True)
    assert bad.splitlines()[0] == "b: no configuration can be made"
    assert bad.endswith("1 to be mended in the inventory:\n  b: relay_x: is wrong")


def test_files_are_written_below_their_host(tmp_path: Path) -> None:
    written = write_files(tmp_path / "out", [preview("a", routes=[{"domains": ["*"], "via": [HOP]}])])
    assert (tmp_path / "out/a/agent.toml").read_text().startswith("# Written by Ansible")
    assert {path.relative_to(tmp_path).as_posix() for path in written} == {
        "out/a/agent.toml",
        "out/a/secrets/me@smtp.example.net-587.password",
    }
