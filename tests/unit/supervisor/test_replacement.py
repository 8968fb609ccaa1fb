# SPDX-License-Identifier: GPL-3.0-or-later
"""A process that replaces its own program, done by real ones."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from relay_agent.supervisor.replacement import SIGNALS, check_command, program, received_state, replace_program

ROOT = Path(__file__).parents[3]

# First it hands over a file and what it knows; the next program writes both. A signal that comes in between waits.
SCRIPT = """
import json, os, signal, sys
sys.path.insert(0, {root!r})
from relay_agent.supervisor.replacement import SIGNALS, received_state, replace_program

state = received_state()
if state is None:
    inherited, kept_back = os.open({out!r}, os.O_WRONLY | os.O_CREAT), os.open("/dev/null", os.O_RDONLY)
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    os.kill(os.getpid(), signal.SIGHUP)
    replace_program({{"fd": inherited, "other": kept_back, "pid": os.getpid(), "name": "M\\u00fcller"}}, [inherited])
came = []
signal.signal(signal.SIGHUP, lambda *_: came.append("SIGHUP"))
signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
try:
    os.fstat(state["other"])
    open_too = True
except OSError:
    open_too = False
told = {{"same": state["pid"] == os.getpid(), "name": state["name"], "came": came, "open_too": open_too,
        "arguments": sys.argv[1:], "left": "POSTROAD_STATE" in os.environ}}
os.write(state["fd"], json.dumps(told).encode())
"""


def test_pid_descriptors_arguments_and_a_signal_are_kept(tmp_path: Path) -> None:
    out, script = tmp_path / "out", tmp_path / "agent"
    script.write_text(f"#!{sys.executable}\n" + SCRIPT.format(root=str(ROOT), out=str(out)))
    script.chmod(0o755)
    done = subprocess.run([str(script), "serve", "--config", "a b"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert json.loads(out.read_text()) == {
        "same": True,
        "name": "Müller",
        "came": ["SIGHUP"],
        "open_too": False,
        "arguments": ["serve", "--config", "a b"],
        "left": False,
    }


def test_a_program_that_cannot_be_started_leaves_everything_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Executable, but nothing that the kernel can run.
    broken = tmp_path / "current"
    broken.write_bytes(b"\0")
    broken.chmod(0o755)
    monkeypatch.setattr(sys, "argv", [str(broken), "serve"])
    ours = os.open("/dev/null", os.O_RDONLY)
    inherited = signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    before, mask = set(Path("/proc/self/fd").iterdir()), signal.pthread_sigmask(signal.SIG_BLOCK, [])
    try:
        with pytest.raises(OSError, match="Exec format error"):
            replace_program({"a": 1}, [ours])
        assert set(Path("/proc/self/fd").iterdir()) == before
        assert not os.get_inheritable(ours)
        assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == mask
        assert "POSTROAD_STATE" not in os.environ
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, inherited)
        os.close(ours)


def test_the_script_leads_to_the_release_of_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "current/bin/relay-agent"
    monkeypatch.setattr(sys, "argv", [str(script), "serve"])
    # While a release is switched there is none: by the interpreter, then.
    assert program()[0] == sys.executable
    script.parent.mkdir(parents=True)
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    assert program() == (str(script), [str(script), "serve"])
    assert check_command(Path("/etc/agent.toml")) == [str(script), "check-config", "--json", "/etc/agent.toml"]


@pytest.mark.parametrize("name", ["relay-agent", "/checkout/relay_agent/__main__.py"])
def test_without_a_script_it_is_the_interpreter_with_its_own_arguments(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(sys, "argv", [name, "serve"])
    monkeypatch.setattr(sys, "orig_argv", ["python3", "-m", "relay_agent", "serve"])
    assert program() == (sys.executable, [sys.executable, "-m", "relay_agent", "serve"])
    assert check_command(Path("a.toml")) == [sys.executable, "-m", "relay_agent", "check-config", "--json", "a.toml"]


def test_a_process_that_was_just_started_has_received_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("POSTROAD_STATE", raising=False)
    assert received_state() is None
