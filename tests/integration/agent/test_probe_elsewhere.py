# SPDX-License-Identifier: GPL-3.0-or-later
"""The probe where a traveller has it: installed by itself, without root, and on a system that is no Unix."""

from __future__ import annotations

import json
import os
import pty
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
import venv
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.ports import free_port

from .conftest import Agent

ROOT = Path(__file__).parents[3]
NOBODY = 65534

# Python as it is on Windows, as far as that can be had elsewhere: modules and functions that it does not have there
# are gone, and sys.platform is that of Windows before anything of ours is imported.
WINDOWS = """
import argparse, concurrent.futures, importlib.abc, json, os, pathlib, shutil, signal, socket, ssl, sys, tempfile
import threading

GONE = {"fcntl", "grp", "posix", "pty", "pwd", "readline", "resource", "syslog", "termios", "tty", "uvloop"}

class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in GONE:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

for name in GONE & sys.modules.keys() - {"posix"}:
    del sys.modules[name]
sys.meta_path.insert(0, Missing())
for name in (
    "chown chroot fchdir fchmod fchown fork forkpty geteuid getegid getgid getgroups getpgid getuid initgroups killpg "
    "lchown mkfifo nice openpty pread pwrite sched_getaffinity setegid seteuid setgid setgroups setpgid setsid setuid "
    "sysconf uname wait3 wait4 O_CLOEXEC O_DIRECTORY O_NOFOLLOW O_NONBLOCK"
).split():
    if hasattr(os, name):
        delattr(os, name)
for name in ("SIGHUP", "SIGKILL", "SIGUSR1", "SIGUSR2", "SIGPIPE", "SIGALRM", "SIGCHLD", "SIGQUIT", "pthread_sigmask"):
    delattr(signal, name)
for name in ("AF_UNIX", "MSG_NOSIGNAL", "SO_REUSEPORT", "SCM_RIGHTS"):
    if hasattr(socket, name):
        delattr(socket, name)
ssl.enum_certificates = lambda store: []
ssl.enum_crls = lambda store: []
sys.platform = "win32"

from relay_agent.probe import survey
survey.addresses = lambda host: (("ipv4", "127.0.0.1"),)
from relay_agent.cli.main import main
status = main(sys.argv[1:])
for name in ("asyncio", "relay_agent.accounts.store", "pydantic", *GONE - {"posix"}):
    assert name not in sys.modules, name
sys.exit(status)
"""


# A try goes on for as long as the whole may take.
PATIENT = """
import sys
from relay_agent.probe import attempt
attempt._GREETING = attempt._REPLY = 60.0
from relay_agent.cli.main import main
sys.exit(main())
"""


def words(agent: Agent, *options: str) -> list[str]:
    ports = ["--port", str(agent.implicit), "--port", str(agent.starttls)]
    return ["probe", "relay.test", "--ca", str(agent.certificate.certificate), *ports, *options]


def windows(directory: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Run the command there. Output is in the code page of an old console."""
    environment = os.environ | {"LOCALAPPDATA": str(directory), "PYTHONIOENCODING": "cp437", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", WINDOWS, *arguments], env=environment, capture_output=True, timeout=60, cwd=directory
    )


def test_on_windows(lasting_agent: Agent, tmp_path: Path) -> None:
    done = windows(tmp_path, *words(lasting_agent))
    assert done.returncode == 0, done.stderr.decode()
    assert done.stderr == b""
    text = done.stdout.decode("cp437")
    assert "Mail can be sent from here. Set your mail program to:" in text
    assert f"port      {lasting_agent.implicit}" in text
    known = json.loads((tmp_path / "postroad/relays.json").read_text())
    assert list(known) == ["relay.test"]


def test_mistakes_on_windows(lasting_agent: Agent, tmp_path: Path) -> None:
    """What is said when it does not work needs nothing of a Unix either."""
    closed = free_port()
    done = windows(tmp_path, "probe", "relay.test", "--port", str(closed))
    assert (done.returncode, done.stderr) == (1, b"")
    assert b"The host is there, and no relay on it" in done.stdout
    done = windows(tmp_path, "probe", "relay.test", "--ca", str(tmp_path / "missing.pem"))
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"missing.pem: No such file or directory" in done.stderr
    done = windows(tmp_path, *words(lasting_agent, "--known", str(tmp_path)))
    assert done.returncode == 0
    assert b"what was learned is not kept" in done.stderr
    assert windows(tmp_path, "probe", "--help").returncode == 0


@pytest.fixture(scope="module")
def installed() -> Iterator[Path]:
    """A fresh environment with the wheel, outside of the repository, that everybody may read; its ``bin``.

    What the wheel depends on is this environment's own: nothing is fetched.
    """
    with tempfile.TemporaryDirectory(prefix="postroad-installed-") as name:
        place = Path(name)
        place.chmod(0o755)
        subprocess.run(
            [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", name],
            cwd=ROOT, check=True, capture_output=True,
        )  # fmt: skip
        (wheel,) = place.glob("*.whl")
        venv.create(place / "venv", with_pip=True)
        pip = [str(place / "venv/bin/python"), "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
        subprocess.run([*pip, str(wheel)], check=True, cwd="/")
        (packages,) = (place / "venv/lib").glob("python3*/site-packages")
        (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
        yield place / "venv/bin"


def run(program: Path, *arguments: str, home: Path) -> subprocess.CompletedProcess[str]:
    """Run it as nobody, if this is root and everybody may read the packages."""
    packages = Path(sysconfig.get_path("purelib"))
    readable = all(each.stat().st_mode & 0o005 == 0o005 for each in (packages, *packages.parents))
    user = NOBODY if os.geteuid() == 0 and readable else None
    return subprocess.run(
        [str(program), *arguments], user=user, cwd="/", env={"PATH": "/usr/bin:/bin", "HOME": str(home)},
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def test_installed_by_itself_and_without_root(installed: Path, lasting_agent: Agent) -> None:
    program = installed / "relay-agent"
    helped = run(program, "probe", "--help", home=installed)
    assert (helped.returncode, helped.stderr) == (0, "")
    assert "needs no root" in " ".join(helped.stdout.split())
    code = "import relay_agent, sys; sys.stdout.write(relay_agent.__file__)"
    assert run(installed / "python", "-c", code, home=installed).stdout.startswith(str(installed.parent))
    # relay.test is in no DNS: the relay is asked by its address, and found to be there.
    ports = ["--port", str(lasting_agent.implicit), "--json"]
    with tempfile.NamedTemporaryFile(suffix=".pem") as authority:
        Path(authority.name).write_bytes(lasting_agent.certificate.certificate.read_bytes())
        Path(authority.name).chmod(0o644)
        done = run(program, "probe", "127.0.0.1", "--ca", authority.name, *ports, home=Path("/nonexistent"))
    assert done.returncode == 1, done.stderr
    (port,) = json.loads(done.stdout)["ports"]
    assert port["what"] == "address"
    assert "relay.test" in port["words"]


def test_ctrl_c_on_a_terminal_ends_it_at_once(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    # A background job ignores Ctrl-C, and so would all that it starts.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    with ExitStack() as opened:
        # It takes connections and never says a word: without Ctrl-C, all of the 9.5 seconds are waited.
        silent = opened.enter_context(socket.create_server(("127.0.0.1", 0)))
        port = str(silent.getsockname()[1])
        started = subprocess.Popen(
            [sys.executable, "-c", PATIENT, "probe", "127.0.0.1", "--port", port, "--known", str(tmp_path / "k")],
            cwd=ROOT, stdout=theirs, stderr=theirs, env=os.environ | {"NO_COLOR": "1"},
        )  # fmt: skip
        signal.signal(signal.SIGINT, before)
        os.close(theirs)
        # Both tries are under way once they are connected.
        for _ in range(2):
            opened.enter_context(silent.accept()[0])
        begun = time.monotonic()
        started.send_signal(signal.SIGINT)
        assert started.wait(30) == 130
        assert time.monotonic() - begun < 6
    shown = b""
    with suppress(OSError):  # EIO: there is nobody at the other end any more
        while data := os.read(ours, 65536):
            shown += data
    os.close(ours)
    assert b"127.0.0.1: interrupted" in shown
    assert b"Traceback" not in shown
