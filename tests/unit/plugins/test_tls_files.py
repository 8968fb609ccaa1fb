# SPDX-License-Identifier: GPL-3.0-or-later
"""The module tls_files as Ansible runs it on a host: what it tells, what it makes, what it refuses."""

import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.postroad.relay.plugins.plugin_utils.certificates.private_ca import PrivateCa

from tests.unit.plugins.issued import issue
from tests.unit.plugins.machine import Machine

HOST = "relay.example.org"


@pytest.fixture
def authority(tmp_path: Path) -> PrivateCa:
    return PrivateCa.open_or_create(tmp_path / "ca")


def step(machine: Machine, name: str, *, check: bool = False, **arguments: Any) -> dict[str, Any]:
    return machine.module("tls_files", {"step": name, **arguments}, check=check)


def test_from_a_bare_host_to_a_pair_in_use(machine: Machine, authority: PrivateCa) -> None:
    told = step(machine, "inspect", check=True)
    assert told["changed"]
    assert (told["chain"], told["key_matches"]) == ("", False)
    assert not machine.path("/etc/postroad").exists()
    assert "postroad" not in machine.sh("cat /etc/passwd /etc/group")

    asked = step(machine, "request")
    assert asked["changed"]
    assert "PRIVATE KEY" not in json.dumps(asked)
    chain = authority.sign(asked["request"], [HOST], 30)
    installed = step(machine, "install", chain=chain)
    assert (installed["changed"], installed["reloaded"]) == (True, False)
    assert machine.sh("stat -Lc '%U:%G %a' /etc/postroad/tls /etc/postroad/tls/privkey.pem") == (
        "root:postroad 750\nroot:postroad 640\n"
    )
    found = step(machine, "inspect")
    assert (found["changed"], found["chain"], found["key_matches"]) == (False, chain, True)


def test_key_of_the_operator_is_in_no_result(machine: Machine, authority: PrivateCa, tmp_path: Path) -> None:
    issue(authority, tmp_path / "pair", [HOST])
    chain, key = (tmp_path / "pair" / "chain").read_text(), (tmp_path / "pair" / "key").read_text()
    done = step(machine, "install", chain=chain, private_key=key)
    assert done["changed"]
    assert not any(line in json.dumps(done) for line in key.splitlines() if line and "PRIVATE" not in line)
    assert step(machine, "inspect")["key_matches"]
    issue(authority, tmp_path / "pair", [HOST])
    refused = step(machine, "install", chain=chain, private_key=(tmp_path / "pair" / "key").read_text())
    assert refused["failed"]
    assert "the private key does not belong to the certificate; the pair in use was kept" in refused["msg"]
    assert step(machine, "inspect")["key_matches"]


def test_running_agent_is_reloaded(machine: Machine, authority: PrivateCa, tmp_path: Path) -> None:
    machine.sh("touch /run/units/active/relay-agent.service")
    issue(authority, tmp_path / "pair", [HOST])
    source: dict[str, Any] = {
        "source_certificate": str(tmp_path / "pair" / "chain"),
        "source_key": str(tmp_path / "pair" / "key"),
    }
    found = step(machine, "inspect", **source)
    assert found["source_chain"] == (tmp_path / "pair" / "chain").read_text()
    assert found["source_key_matches"]
    planned = step(machine, "install", chain=found["source_chain"], check=True, **source)
    assert not planned.get("failed")
    assert machine.asked() == []
    done = step(machine, "install", chain=found["source_chain"], **source)
    assert done["reloaded"]
    assert machine.asked() == ["reload relay-agent.service"]
    assert "PRIVATE KEY" not in json.dumps([found, done])


def test_a_drained_host_proves_it_when_it_takes_mail(machine: Machine, authority: PrivateCa, tmp_path: Path) -> None:
    program = "/opt/postroad/current/bin/relay-agent"
    machine.sh(f"mkdir -p $(dirname {program}); ln -s /bin/false {program}")
    machine.sh("touch /run/units/active/relay-agent.service; mkdir -p /etc/postroad; touch /etc/postroad/drained.json")
    issue(authority, tmp_path / "pair", [HOST])
    chain, key = (tmp_path / "pair" / "chain").read_text(), (tmp_path / "pair" / "key").read_text()
    installed = step(machine, "install", chain=chain, private_key=key)
    assert (installed["reloaded"], "drained" in installed["unproved"]) == (True, True)
    assert "no mail program may see the relay's certificate: this host is drained" in step(machine, "prove")["msg"]
    assert not step(machine, "prove", check=True).get("failed")
    machine.sh("rm /etc/postroad/drained.json")
    assert "certificate prove: exit status 1" in step(machine, "prove")["msg"]
    machine.sh(f"ln -sf /bin/true {program}")
    for _ in range(2):
        proved = step(machine, "prove")
        assert (proved.get("failed", False), proved["changed"], proved["unproved"]) == (False, False, "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"step": "install"}, "step is install but all of the following are missing: chain"),
        ({"source_certificate": "/no/chain", "source_key": "/no/key"}, "/no/chain does not exist on this host"),
        ({"step": "install", "chain": "nonsense", "private_key": "x"}, "the chain holds no certificate in PEM form"),
        ({"step": "install", "chain": "{chain}"}, "no key was made for this certificate"),
    ],
)
def test_what_it_cannot_do_is_a_sentence(
    shared_machine: Machine, authority: PrivateCa, tmp_path: Path, arguments: dict[str, str], message: str
) -> None:
    issue(authority, tmp_path / "pair", [HOST])
    chain = (tmp_path / "pair" / "chain").read_text()
    done = shared_machine.module("tls_files", {name: value.format(chain=chain) for name, value in arguments.items()})
    assert done["failed"]
    assert message in done["msg"]
    assert "Traceback" not in json.dumps(done)
