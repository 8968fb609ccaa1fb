# SPDX-License-Identifier: GPL-3.0-or-later
"""What a lab keeps on the controller: made by ssh-keygen and openssl, once."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from lab.state import State
from lab.topology import load_lab

ROOT = Path(__file__).parents[3]
SCRIPT = "inventories/lab/hosts.py"


@pytest.fixture
def state(tmp_path: Path) -> State:
    lab = load_lab(ROOT / "molecule/shared/topology.toml", "test")
    made = State(tmp_path / "checkout", lab, sockets=tmp_path / "sockets")
    made.prepare(certificates_for=["mx"])
    return made


def contents(state: State) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in state.root.rglob("*") if path.is_file()}


def test_nothing_is_made_twice(state: State) -> None:
    before = contents(state)
    state.prepare(certificates_for=["mx"])
    assert contents(state) == before


def test_secrets_are_for_the_owner_alone(state: State) -> None:
    for path in (state.ssh_key, state.host_key("mx"), state.certificate("mx")[1], state.root / "secrets.yml"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert stat.S_IMODE(state.root.stat().st_mode) == 0o700


def test_every_account_has_a_password_of_its_own(state: State) -> None:
    accounts = json.loads((state.root / "secrets.yml").read_text())["accounts"]
    assert set(accounts) == {"alice", "bob", "probe"}
    assert len(set(accounts.values())) == 3
    assert min(map(len, accounts.values())) >= 20
    assert all(password.isalnum() for password in accounts.values())


def test_the_certificate_is_for_the_host_and_of_the_labs_authority(state: State) -> None:
    certificate, _ = state.certificate("mx")
    verify = ["openssl", "verify", "-verify_hostname", "mx.postroad.test", "-purpose", "sslserver"]
    command = [*verify, "-CAfile", str(certificate.with_name("authority.pem")), str(certificate)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_ssh_finds_hosts_by_name_and_trusts_their_keys_alone(state: State) -> None:
    shown = subprocess.run(["ssh", "-F", str(state.ssh_config), "-G", "relay2"], capture_output=True, text=True)
    settings = dict(line.split(" ", 1) for line in shown.stdout.splitlines() if " " in line)
    assert settings["hostname"] == "198.51.100.140"
    assert settings["user"] == "root"
    assert settings["stricthostkeychecking"] in ("true", "yes")
    key = state.host_key("relay2").with_suffix(".pub").read_text().split()[1]
    known = Path(settings["userknownhostsfile"]).read_text().splitlines()
    assert [line for line in known if "198.51.100.140" in line and key in line]


def test_the_script_prints_the_same_inventory(state: State) -> None:
    script = state.checkout / SCRIPT
    script.parent.mkdir(parents=True)
    script.write_bytes((ROOT / SCRIPT).read_bytes())
    environment = {**os.environ, "POSTROAD_LAB": "test"}
    done = subprocess.run([sys.executable, str(script), "--list"], capture_output=True, text=True, env=environment)
    printed = json.loads(done.stdout)
    assert printed["relays"]["hosts"] == ["relay1", "relay2"]
    assert printed["_meta"]["hostvars"]["relay1"]["ansible_host"] == "198.51.100.139"
    assert printed["all"]["vars"]["lab_state"] == str(state.root)
    # Ansible warns when a group is called like a host.
    assert not set(printed) & set(printed["_meta"]["hostvars"])


def test_the_script_says_what_to_do_without_a_lab(tmp_path: Path) -> None:
    script = tmp_path / SCRIPT
    script.parent.mkdir(parents=True)
    script.write_bytes((ROOT / SCRIPT).read_bytes())
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == "the lab up is not there: run `make up` first\n"


def test_nothing_is_left_behind(state: State) -> None:
    state.remove()
    assert not (state.checkout / ".lab").exists()
    assert not state.sockets.exists()
