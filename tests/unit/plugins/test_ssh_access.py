# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the operator comes in: read from real forms of `ss`, from the environment, from the parents."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.postroad.relay.plugins.module_utils import ssh_access

SS = """\
LISTEN 0      128          0.0.0.0:22        0.0.0.0:*    users:(("sshd",pid=101,fd=3))
LISTEN 0      128             [::]:2222         [::]:*    users:(("sshd",pid=101,fd=4))
LISTEN 0      128        127.0.0.1:6010      0.0.0.0:*    users:(("sshd",pid=300,fd=7))
LISTEN 0      128          0.0.0.0:9000      0.0.0.0:*    users:(("sshd",pid=300,fd=9))
LISTEN 0      4096   [fe80::1%eth0]:53          [::]:*    users:(("unbound",pid=7,fd=3),("unbound",pid=8,fd=3))
LISTEN 0      100                *:8080            *:*
"""


@pytest.fixture
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A /proc in which the session 300 is a child of the daemon 101."""
    monkeypatch.setattr(ssh_access, "PROC", tmp_path)
    for pid, parent in ((101, 1), (300, 101)):
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "status").write_text(f"Name:\tsshd\nPPid:\t{parent}\n")
    return tmp_path


def refuse(args: list[str], /) -> tuple[int, str, str]:
    """A host where no command works."""
    return 127, "", f"{args[0]}: not found"


def test_listeners_are_read() -> None:
    listeners = ssh_access.parse_listeners(SS)
    assert [(one.address, one.port) for one in listeners] == [
        ("0.0.0.0", 22),
        ("::", 2222),
        ("127.0.0.1", 6010),
        ("0.0.0.0", 9000),
        ("fe80::1", 53),
        ("*", 8080),
    ]
    assert listeners[4].programs == ("unbound",)
    assert listeners[4].pids == (7, 8)
    assert listeners[5].programs == ()
    assert [one.port for one in listeners if one.is_loopback] == [6010]


def test_sshd_ports_leave_out_forwarded_ones(proc: Path) -> None:
    assert ssh_access.sshd_ports(refuse, ssh_access.parse_listeners(SS)) == {22, 2222}


def test_sshd_ports_fall_back_to_its_configuration() -> None:
    def run(args: list[str], /) -> tuple[int, str, str]:
        assert args == ["/usr/sbin/sshd", "-T"]
        return 0, "port 22\nport 8022\naddressfamily any\nx11displayoffset 10\n", ""

    assert ssh_access.sshd_ports(run, []) == {22, 8022}


def test_no_sshd_is_no_port() -> None:
    assert ssh_access.sshd_ports(refuse, []) == set()
    assert ssh_access.tcp_listeners(refuse) == []


def test_connection_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSH_CONNECTION", "2001:db8::7 50123 2001:db8::1 2222")
    connection = ssh_access.current_connection()
    assert connection is not None
    assert (connection.client, connection.server_port) == ("2001:db8::7", 2222)
    assert str(connection) == "2001:db8::7 50123 2001:db8::1 2222"


def test_connection_is_found_above_a_cleared_environment() -> None:
    """As under sudo, which clears the variable: a child without it asks its parents."""
    script = (
        "import os, subprocess, sys\n"
        "environment = {k: v for k, v in os.environ.items() if k != 'SSH_CONNECTION'}\n"
        "code = 'from ansible_collections.postroad.relay.plugins.module_utils.ssh_access import current_connection;'\n"
        "code += 'print(current_connection())'\n"
        "subprocess.run([sys.executable, '-c', code], env=environment, check=True)\n"
    )
    environment = {
        **os.environ,
        "SSH_CONNECTION": "192.0.2.7 50123 192.0.2.1 22",
        "PYTHONPATH": str(Path(sys.prefix) / "collections"),
    }
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "192.0.2.7 50123 192.0.2.1 22"
