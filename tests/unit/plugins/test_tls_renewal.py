# SPDX-License-Identifier: GPL-3.0-or-later
"""The module tls_renewal as Ansible runs it on a host: set up, kept, taken away."""

import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.postroad.relay.plugins.plugin_utils.certificates.private_ca import PrivateCa

from tests.unit.plugins.issued import issue
from tests.unit.plugins.machine import Machine

UNITS = {
    path.name: path.read_text() for path in sorted((Path(__file__).parents[3] / "roles/relay_tls/files").iterdir())
}
SETTINGS = {
    "names": ["relay.example.org"],
    "renew_before": 30,
    "tlsa": False,
    "acme": {"directory_url": "https://acme.example/dir", "email": "me@example.org", "challenge": "http"},
    "dns": {},
}
SECRET = "c2VjcmV0IGtleQ=="


def run(machine: Machine, *, check: bool = False, **arguments: Any) -> dict[str, Any]:
    given = {"settings": SETTINGS, "units": UNITS, "key_secret": SECRET, **arguments}
    return machine.module("tls_renewal", given, check=check)


@pytest.fixture
def release(machine: Machine, tmp_path: Path) -> None:
    """A release whose program puts a pair in use, once, in place of an authority; and a lego that is never run."""
    issue(PrivateCa.open_or_create(tmp_path / "ca"), machine.scratch / "pair", ["relay.example.org"])
    changed = json.dumps({"changed": True, "reason": "there is none", "usable": True, "problems": []})
    same = json.dumps({"changed": False, "reason": "", "usable": True, "problems": []})
    program = f"""#!/bin/sh
cd /etc/postroad/tls
if [ -e fullchain.pem ]; then echo '{same}'; exit 0; fi
cp {machine.scratch}/pair/chain fullchain.pem
echo '{changed}'
"""
    place = "/opt/postroad/current/bin"
    machine.sh(f"mkdir -p {place} && cat > {place}/relay-agent <<'E'\n{program}E\nchmod 755 {place}/relay-agent")
    machine.sh("printf '#!/bin/sh\\n' > /usr/local/bin/lego && chmod 755 /usr/local/bin/lego")


@pytest.mark.usefixtures("release")
def test_set_up_kept_and_taken_away(machine: Machine) -> None:
    planned = run(machine, check=True)
    assert planned["changed"]
    assert not machine.path("/etc/postroad/certificate.toml").exists()

    made = run(machine)
    assert (made["changed"], made["reason"], made["before"]) == (True, "there is none", "")
    assert made["chain"].startswith("-----BEGIN CERTIFICATE-----")
    assert SECRET not in json.dumps(made)
    assert machine.sh("stat -c '%U %a' /etc/postroad/certificate.toml") == "root 600\n"
    assert machine.path("/run/units/active/relay-certificate.timer").exists()
    assert machine.path("/run/units/enabled/relay-certificate.timer").exists()

    assert not run(machine)["changed"]
    assert not run(machine, check=True)["changed"]

    assert machine.module("tls_renewal", {"state": "absent"}, check=False)["changed"]
    assert not machine.path("/etc/systemd/system/relay-certificate.timer").exists()
    assert not machine.path("/run/units/active/relay-certificate.timer").exists()
    assert machine.path("/etc/postroad/tls/fullchain.pem").exists()
    assert not machine.module("tls_renewal", {"state": "absent"}, check=False)["changed"]


def test_lego_is_asked_for(machine: Machine) -> None:
    refused = run(machine)
    assert (refused["failed"], refused["missing_package"]) == (True, "lego")
