# SPDX-License-Identifier: GPL-3.0-or-later
"""Power cuts, in a process namespace of this machine: what every container is in."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab import power

# The first process, and one that acts on its end, as a deployment does on that of systemd: their pipe is closed. The
# many files after it give that one time before the kernel gets as far as killing the rest.
OTHER = """
import os, sys
open(sys.argv[2] + "/up", "w")
os.read(int(sys.argv[1]), 1)
open(sys.argv[2] + "/acted", "w")
"""
FIRST = """
import os, resource, subprocess, sys, time
other, place = sys.argv[1:]
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
read, write = os.pipe()
subprocess.Popen([sys.executable, "-c", other, str(read), place], pass_fds=[read])
files = [os.open("/dev/null", os.O_RDONLY) for _ in range(min(hard, 20_000) - 100)]
while not os.path.exists(place + "/up"):
    time.sleep(0.01)
open(place + "/ready", "w")
time.sleep(60)
"""


@pytest.fixture
def first(tmp_path: Path) -> Iterator[int]:
    """The id of the first process, as it is seen from here."""
    own = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    command = ["unshare", *own, "--pid", "--fork", "--kill-child", sys.executable, "-c", FIRST, OTHER, str(tmp_path)]
    with subprocess.Popen(command) as unshare:
        deadline = time.monotonic() + 30
        while not (tmp_path / "ready").exists():
            assert unshare.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        yield int(Path(f"/proc/{unshare.pid}/task/{unshare.pid}/children").read_text())
        unshare.kill()


def test_all_end_and_none_can_act_on_the_end_of_another(first: int, tmp_path: Path) -> None:
    namespace = Path(f"/proc/{first}/ns/pid").readlink()
    power.cut(first)
    deadline = time.monotonic() + 30
    while any(str(namespace) == power._namespace(path) for path in Path("/proc").glob("[0-9]*")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert not (tmp_path / "acted").exists()
