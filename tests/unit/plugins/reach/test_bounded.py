# SPDX-License-Identifier: GPL-3.0-or-later
"""The program that stands between ssh and Ansible, run as one."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from ansible_collections.postroad.relay.plugins.plugin_utils.reach.bounded import CUT, launcher

Done = subprocess.CompletedProcess[bytes]


def run(tmp_path: Path, script: str, *, most: int = 1000, within: float = 30.0, given: bytes = b"") -> Done:
    program = launcher(tmp_path / "a name with spaces", "/bin/sh", most=most, within=within)
    return subprocess.run([program, "-c", script, "sh", "it's", "b c"], input=given, capture_output=True, timeout=60)


def test_a_command_is_as_without_it(tmp_path: Path) -> None:
    done = run(tmp_path, 'cat; printf "<%s>" "$@"; echo wrong >&2; exit 3', given=b"in\n")
    assert (done.returncode, done.stdout, done.stderr) == (3, b"in\n<it's><b c>", b"wrong\n")
    assert run(tmp_path, "kill -TERM $$").returncode == 128 + 15


def test_all_that_is_allowed_gets_through(tmp_path: Path) -> None:
    most = 3_000_000
    done = run(tmp_path, f"head -c {most} /dev/zero; head -c {most} /dev/zero >&2", most=most)
    assert (done.returncode, len(done.stdout), len(done.stderr)) == (0, most, most)


@pytest.mark.parametrize("stream", [1, 2])
def test_more_ends_it(tmp_path: Path, stream: int) -> None:
    done = run(tmp_path, f"cat /dev/zero >&{stream}", most=200_000)
    assert done.returncode == CUT
    assert len(done.stdout) <= 200_000
    assert len(done.stderr) <= 200_000 + 100
    assert done.stderr.endswith(b"\nit said more than 200000 bytes\n")


@pytest.mark.parametrize(
    "script", ["exec sleep 600", "exec >&- 2>&-; exec sleep 600", "while echo; do sleep 0.1; done"]
)
def test_one_that_takes_too_long_is_ended(tmp_path: Path, script: str) -> None:
    began = time.monotonic()
    done = run(tmp_path, script, within=1.0)
    assert time.monotonic() - began < 20
    assert (done.returncode, done.stderr) == (CUT, b"\nit was not done within 1 seconds\n")


def test_what_holds_a_stream_open_is_not_waited_for(tmp_path: Path) -> None:
    # So does the connection that ssh keeps for the next command.
    began = time.monotonic()
    done = run(tmp_path, "sleep 30 >&- & echo done")
    assert (done.returncode, done.stdout) == (0, b"done\n")
    assert time.monotonic() - began < 20


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_who_ends_it_ends_the_command(tmp_path: Path, number: int) -> None:
    program = launcher(tmp_path / "ssh", "/bin/sh", most=1000, within=60.0)
    with subprocess.Popen([program, "-c", "echo $$; exec sleep 600"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        command = int(process.stdout.readline())
        process.send_signal(number)
        assert process.wait(20) == 128 + number
    with pytest.raises(ProcessLookupError):
        os.kill(command, 0)


def test_an_executable_that_is_not_there_is_named(tmp_path: Path) -> None:
    program = launcher(tmp_path / "ssh", "/nowhere/ssh", most=1000, within=5.0)
    done = subprocess.run([program, "host"], capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (127, b"/nowhere/ssh: No such file or directory\n")
