# SPDX-License-Identifier: GPL-3.0-or-later
"""The fleet's records at a real name server: published, found by a traveller, compared, mended."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lab.topology import Lab
from traffic.fixtures import CHECKOUT, LAB, STATE
from traffic.relays import Relay

from relay_agent.name_server import Change, NameServer, NameServerError, TsigKey

RECORDS = STATE / "inventory" / "dns-records"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, lab: Lab) -> Callable[..., tuple[int, str, list[dict[str, Any]]]]:
    """Runs a playbook: its exit status, what it said, and for dns_check.yml its JSON."""
    ((_, resolver),) = lab.hosts["dns"].networks
    report = tmp_path_factory.mktemp("dns") / "check.json"

    def play(name: str, *options: str) -> tuple[int, str, list[dict[str, Any]]]:
        inventories = [f"--inventory={STATE / 'inventory'}", f"--inventory={CHECKOUT / 'molecule/networks/inventory'}"]
        chosen = {"relay_check_dns_resolver": resolver.ipv4, "relay_check_dns_json": str(report)}
        command = ["ansible-playbook", *inventories, f"playbooks/{name}.yml", "--extra-vars", json.dumps(chosen)]
        environment = os.environ | {
            "ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg"),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_FORCE_COLOR": "0",
            "POSTROAD_LAB": LAB,
        }
        done = subprocess.run([*command, *options], cwd=CHECKOUT, env=environment, capture_output=True, text=True)
        rows = json.loads(report.read_text()) if name == "dns_check" else []
        return done.returncode, done.stdout + done.stderr, rows

    return play


@pytest.fixture(scope="module")
def knot(on: Callable[[str], Any]) -> Callable[..., None]:
    """Changes the fleet's zone by another hand: ``knot("unset relay1 A")``."""

    def change(*commands: str) -> None:
        steps = [f"zone-{verb} roam.test {rest}" for verb, _, rest in (each.partition(" ") for each in commands)]
        for step in ["zone-begin roam.test", *steps, "zone-commit roam.test"]:
            on("ns").check_output(f"knotc {step}")

    return change


@pytest.fixture(scope="module")
def dig(laptop: Any, lab: Lab) -> Callable[[str, str], set[str]]:
    """What the name server itself has, past the resolver's memory."""
    ((_, server),) = lab.hosts["ns"].networks
    return lambda kind, name: set(laptop.check_output(f"dig +short @{server.ipv4} {kind} {name}").splitlines())


def test_a_second_run_changes_nothing(run: Callable[..., Any]) -> None:
    status, said, _ = run("dns")
    assert status == 0, said
    assert "changed=0" in said
    assert "changed=1" not in said


def test_a_mail_program_finds_the_ports(laptop: Any) -> None:
    lines = laptop.check_output("dig +short SRV _submissions._tcp.roam.test").splitlines()
    assert min(lines, key=lambda line: int(line.split()[0])) == "0 1 443 mail.roam.test."
    assert laptop.check_output("dig +short autoconfig.roam.test CNAME") == "mail.roam.test."


def test_what_was_there_stays(laptop: Any) -> None:
    """Somebody's text, and their SPF policy with its own words and end."""
    texts = laptop.check_output("dig +short TXT roam.test").splitlines()
    (policy,) = [text for text in texts if "spf1" in text]
    assert '"somebody-verification=1234"' in texts
    assert policy.startswith('"v=spf1 include:elsewhere.test ip4:')
    assert policy.endswith(' -all"')


def test_everything_is_published(run: Callable[..., Any]) -> None:
    status, said, rows = run("dns_check")
    assert status == 0, said
    assert {row["state"] for row in rows} == {"good"}
    assert {row["type"] for row in rows} == {"A", "AAAA", "SRV", "CNAME", "TXT", "TLSA", "PTR"}


def test_what_is_missing_or_wrong_is_told_and_mended(run: Callable[..., Any], knot: Callable[..., None]) -> None:
    knot("unset relay1 A", "unset _dmarc TXT", "set relay2 60 A 198.18.7.62")
    status, said, rows = run("dns_check")
    bad = {(row["name"], row["type"]): row for row in rows if row["state"] != "good"}
    assert status != 0
    assert set(bad) == {("relay1.roam.test.", "A"), ("relay2.roam.test.", "A"), ("_dmarc.roam.test.", "TXT")}
    (line,) = bad["relay1.roam.test.", "A"]["add"]
    assert line in said
    assert bad["relay2.roam.test.", "A"]["state"] == "wrong"
    status, said, _ = run("dns", "--check")
    assert status == 0, said
    assert run("dns_check")[0] != 0, "check mode changed something"
    status, said, _ = run("dns")
    assert status == 0, said
    assert "198.18.7.62; they are not from here" in said
    knot("unset relay2 A 198.18.7.62")
    assert run("dns_check")[0] == 0


def test_what_leaves_an_alias_no_room_is_named(
    run: Callable[..., Any], knot: Callable[..., None], dig: Callable[[str, str], set[str]]
) -> None:
    """The server would ignore the alias and say that all is well."""
    knot("unset autoconfig CNAME", "set autoconfig 60 A 198.18.7.62")
    status, said, rows = run("dns_check")
    (bad,) = [row for row in rows if row["state"] != "good"]
    assert status != 0
    assert bad["remove"] == ["autoconfig.roam.test. 3600 IN A 198.18.7.62"]
    assert "there is A 198.18.7.62: take that out first" in said
    status, said, _ = run("dns")
    assert status == 0, said
    assert "autoconfig.roam.test. CNAME mail.roam.test. is not put in" in said.replace("\n", " ")
    assert "changed=1" not in said
    knot("unset autoconfig A")
    assert run("dns")[0] == 0
    assert dig("CNAME", "autoconfig.roam.test") == {"mail.roam.test."}


def test_the_mark_of_a_relay_that_is_gone_goes(
    run: Callable[..., Any], knot: Callable[..., None], dig: Callable[[str, str], set[str]]
) -> None:
    """That of one which takes mail is told, and is ended on the relay."""
    knot('set _drained.mail 60 TXT "gone.roam.test"', 'set _drained.mail 60 TXT "relay1.roam.test"')
    assert run("dns_check")[0] != 0
    status, said, _ = run("dns")
    assert status == 0, said
    assert "holds relay1.roam.test out of the address list" in said.replace("\n", " ")
    assert dig("TXT", "_drained.mail.roam.test") == {'"relay1.roam.test"'}
    knot("unset _drained.mail TXT")
    assert run("dns_check")[0] == 0


def test_the_relays_key_changes_the_list_and_nothing_else(lab: Lab) -> None:
    """With the rights that docs/dns.md gives it."""
    ((_, server),) = lab.hosts["ns"].networks
    access = NameServer(server.ipv4, key=TsigKey("failover", (STATE / "failover.key").read_text().strip()))
    foreign = frozenset({"198.18.7.62"})
    for owner in ("relay1.roam.test.", "roam.test.", "_acme-challenge.roam.test."):
        with pytest.raises(NameServerError, match="does not let it do this"):
            access.update("roam.test", [Change(owner, "A", add=foreign, ttl=3)])
    with pytest.raises(NameServerError, match="does not let it do this"):
        access.update("roam.test", [Change("mail.roam.test.", "MX", add=frozenset({"0 relay1.roam.test."}), ttl=3)])


def test_the_secret_is_in_no_output(run: Callable[..., Any]) -> None:
    secrets = [(STATE / name).read_text().strip() for name in ("tsig.key", "failover.key")]
    _, said, _ = run("dns", "--check", "--diff", "-vvv")
    assert "TASK" in said
    for secret in secrets:
        assert secret not in said
        assert not [path for path in RECORDS.iterdir() if secret in Path(path).read_text()]


def test_the_script_for_nsupdate(laptop: Any, knot: Callable[..., None], dig: Callable[[str, str], set[str]]) -> None:
    """Taken by a server as it is written; policies that are there stay."""
    knot("unset _submission._tcp SRV", "unset _dmarc TXT")
    texts = dig("TXT", "roam.test")
    place, script = "/root/nsupdate", (RECORDS / "roam.test.nsupdate").read_text()
    secret = (STATE / "tsig.key").read_text().strip()
    laptop.check_output("umask 077 && mkdir -p %s", place)
    laptop.check_output('printf \'key "roam" { algorithm hmac-sha256; secret "%%s"; };\' %s > %s/key', secret, place)
    laptop.check_output("printf %%s %s > %s/script", script, place)
    assert not dig("SRV", "_submission._tcp.roam.test")
    # Status 2: the prerequisite of the SPF policy does not hold, as one is there.
    laptop.run(f"nsupdate -k {place}/key {place}/script")
    assert len(dig("SRV", "_submission._tcp.roam.test")) == 5
    assert len(dig("TXT", "_dmarc.roam.test")) == 1
    assert dig("TXT", "roam.test") == texts


def test_a_signing_key_comes_and_goes(
    run: Callable[..., Any], relays: dict[str, Relay], dig: Callable[[str, str], set[str]]
) -> None:
    """Its record is put in as it is, in strings that fit, and taken out again because it was from here."""
    made = json.loads(relays["relay1"].host.check_output("relay-agent dkim new roam.test --selector lab --json"))
    try:
        assert run("dns")[0] == 0
        for key in made:
            (value,) = dig("TXT", key["name"])
            assert "".join(value.split('" "')).strip('"') == key["value"]
    finally:
        for key in made:
            relays["relay1"].host.check_output(f"relay-agent dkim delete roam.test {key['selector']} --force")
    assert run("dns")[0] == 0
    for key in made:
        assert dig("TXT", key["name"]) == set()
