# SPDX-License-Identifier: GPL-3.0-or-later
"""The action tls_certificate in a playbook: from no certificate to one that stays, by each way to have one."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.postroad.relay.plugins.plugin_utils.certificates.certificate import describe, parse_chain
from ansible_collections.postroad.relay.plugins.plugin_utils.certificates.private_ca import PrivateCa

from tests.unit.plugins.issued import issue
from tests.unit.plugins.machine import Machine, Play

HOST = "relay.example.org"
TLS = "/etc/postroad/tls"
SECRET = "c2VjcmV0IG9mIHRoZSBuYW1lIHNlcnZlcg=="
ACME: dict[str, Any] = {
    "mode": "acme",
    "acme": {"email": "me@example.org", "challenge": "dns"},
    "dns": {"server": "192.0.2.53", "key_name": "relay", "key_secret": SECRET},
}


def task(
    name: str, *, check: bool = False, hostname: str = HOST, release: str | None = None, **certificate: Any
) -> dict[str, Any]:
    arguments = {"hostname": hostname, "certificate": certificate} | ({"release": release} if release else {})
    return {"name": name, "postroad.relay.tls_certificate": arguments, "check_mode": check}


@pytest.fixture(scope="module")
def pair(shared_machine: Machine) -> Path:
    """A certificate for the host from elsewhere, and its key."""
    directory = shared_machine.scratch / "pair"
    issue(PrivateCa.open_or_create(shared_machine.scratch / "elsewhere"), directory, [HOST])
    return directory


def releases() -> dict[str, Any]:
    """A task that stands in for releases of the agent, which would ask an authority, and for lego."""
    lines = ["printf '#!/bin/sh\\n' > /usr/local/bin/lego; chmod 755 /usr/local/bin/lego"]
    for place, usable in (("current", True), ("releases/first", False)):
        told: dict[str, Any] = {"changed": False, "reason": "", "usable": usable, "unproved": "drained"}
        told |= {"problems": ["the authority is down"]}
        program = f"/opt/postroad/{place}/bin/relay-agent"
        lines += [f"mkdir -p $(dirname {program})"]
        lines += [f"cat > {program} <<'END'\n#!/bin/sh\necho '{json.dumps(told)}'\nEND", f"chmod 755 {program}"]
    return {"name": "releases", "ansible.builtin.raw": "\n".join(lines)}


def systemd(command: str) -> dict[str, Any]:
    """A task that changes what the host says of its agent."""
    return {"name": "systemd", "ansible.builtin.raw": f"mkdir -p /run/units/active /etc/postroad; {command}"}


@pytest.fixture(scope="module")
def play(shared_machine: Machine, pair: Path) -> Play:
    """One playbook, since each start of Ansible takes its second."""
    provided: dict[str, Any] = {"mode": "provided", "certificate": str(pair / "chain"), "key": str(pair / "key")}
    return shared_machine.play(
        [
            task("planned", check=True, names=[HOST, "192.0.2.7"]),
            {
                "name": "untouched",
                "ansible.builtin.raw": f"ls /etc/postroad {shared_machine.scratch}/inventory/private_ca",
            },
            task("issued", names=[HOST, "192.0.2.7"]),
            task("kept", names=["192.0.2.7", HOST]),
            task("left out", names=["mail.example.org"]),
            task("not for it", hostname="other.example", **provided),
            task("not there", mode="provided", certificate="no.pem", key="no.key"),
            systemd("touch /run/units/active/relay-agent.service /etc/postroad/drained.json"),
            task("kept, drained", names=["192.0.2.7", HOST]),
            task("replaced, planned", check=True, **provided),
            task("replaced", **provided),
            task("replaced, kept", **provided, source="host"),
            systemd("rm /etc/postroad/drained.json"),
            task("takes mail again", **provided),
            systemd("rm /run/units/active/relay-agent.service"),
            releases(),
            task("none that holds", release="first", **ACME),
            task("renews itself, planned", check=True, **ACME),
            task("renews itself", **ACME),
            task("renews itself, kept", **ACME),
            task("renews itself no more, planned", check=True, **provided),
            task("renews itself no more", **provided),
            task("renews itself no more, kept", **provided),
        ]
    )


def first(shared_machine: Machine) -> Path:
    """The pair that was issued, which is kept beside the one in use."""
    return min(shared_machine.path(f"{TLS}/versions").iterdir())


def failure(result: Mapping[str, Any]) -> str:
    assert result["failed"]
    assert not result.get("changed")
    return str(result["msg"])


def test_check_mode_tells_what_will_be_issued(play: Play) -> None:
    planned, issued = play.results["planned"], play.results["issued"]
    assert planned["changed"]
    assert planned["reason"] == issued["reason"] == "there is none"
    assert planned["diff"] == issued["diff"]
    places, certificate = planned["diff"]
    assert places["before"] == f"{TLS} is missing\n{TLS}/versions is missing\n"
    assert certificate["after"].splitlines()[:2] == [f"subject: CN={HOST}", f"names: 192.0.2.7, {HOST}"]
    assert play.results["untouched"]["stdout"] == ""
    assert play.results["untouched"]["rc"] != 0


def test_certificate_is_the_authoritys_and_beside_the_inventory(play: Play, shared_machine: Machine) -> None:
    chain = (first(shared_machine) / "fullchain.pem").read_text()
    (certificate,) = parse_chain(chain, "issued")
    assert play.results["issued"]["certificate"] == describe(certificate)
    authority = PrivateCa.read_certificate(shared_machine.scratch / "inventory" / "private_ca")
    assert authority is not None
    certificate.verify_directly_issued_by(authority)


def test_nothing_is_to_do_in_the_second_run(play: Play) -> None:
    kept = play.results["kept"]
    assert not kept["changed"]
    assert "diff" not in kept
    assert kept["certificate"] == play.results["issued"]["certificate"]


def test_faults_are_named(play: Play) -> None:
    assert failure(play.results["left out"]) == (
        f"{HOST}: relay_tls_certificate.names: mail.example.org leaves out {HOST}, the name that clients connect to"
    )
    message = failure(play.results["not for it"])
    assert message.startswith(f"{HOST}: the certificate ")
    assert message.endswith(f"on the controller is for {HOST}, not for other.example")
    assert failure(play.results["not there"]) == f"{HOST}: no.pem does not exist on the controller"


def test_provided_pair_takes_over(play: Play, shared_machine: Machine, pair: Path) -> None:
    planned, replaced = play.results["replaced, planned"], play.results["replaced"]
    assert planned["changed"]
    assert replaced["changed"]
    assert planned["reason"] == replaced["reason"] == "another one is provided"
    assert planned["diff"] == replaced["diff"]
    (shown,) = replaced["diff"]
    assert shown["before"] == play.results["issued"]["certificate"]
    assert shared_machine.sh(f"cat {TLS}/fullchain.pem {TLS}/privkey.pem") == (
        (pair / "chain").read_text() + (pair / "key").read_text()
    )
    # The same pair from elsewhere is the same pair.
    assert not play.results["replaced, kept"]["changed"]


def test_a_drained_host_has_its_certificate_and_a_warning(play: Play) -> None:
    closed = "no port has shown the certificate in use yet: this host is drained, and all its ports are closed"
    changes = {"kept, drained": False, "replaced": True, "replaced, kept": False}
    for name, changed in changes.items():
        assert not play.results[name].get("failed"), name
        assert (play.results[name]["changed"], play.results[name]["warnings"]) == (changed, [closed]), name
    assert play.results["replaced"]["reloaded"]
    assert [play.results[name].get("warnings", []) for name in ("issued", "kept", "takes mail again")] == [[], [], []]


def test_a_host_that_renews_by_itself(play: Play) -> None:
    assert failure(play.results["none that holds"]) == (
        f"{HOST}: there is no certificate that holds: the authority is down"
    )
    for name, changed in (("renews itself, planned", True), ("renews itself", True), ("renews itself, kept", False)):
        result = play.results[name]
        assert result["changed"] is changed, name
        assert result["certificate"] == play.results["replaced"]["certificate"]
    assert play.results["renews itself, kept"]["warnings"] == [
        "the authority is down",
        "no port has shown the certificate in use yet: drained",
    ]
    assert SECRET not in play.output


def test_a_host_that_renews_by_itself_no_more(play: Play, shared_machine: Machine) -> None:
    results = [play.results[f"renews itself no more{which}"]["changed"] for which in (", planned", "", ", kept")]
    assert results == [True, True, False]
    assert not shared_machine.path("/etc/systemd/system/relay-certificate.timer").exists()
    assert not shared_machine.path("/etc/postroad/certificate.toml").exists()


def test_no_key_is_printed(play: Play, shared_machine: Machine, pair: Path) -> None:
    assert "PRIVATE KEY" not in play.output
    for key in (pair / "key", first(shared_machine) / "privkey.pem"):
        lines = [line for line in key.read_text().splitlines() if "PRIVATE KEY" not in line]
        assert lines
        assert not any(line in play.output for line in lines)
