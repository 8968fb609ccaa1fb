# SPDX-License-Identifier: GPL-3.0-or-later
"""What /proc says about a program and its children."""

from __future__ import annotations

import subprocess
import sys
import time

from benchmarks.rivals.processes import Peak, Stat, cpu_seconds, memory, parse_smaps_rollup, parse_stat, tree
from benchmarks.rivals.sink import last_count


def test_stat_with_a_nasty_name() -> None:
    line = "42 (a) b (c) S 7 42 42 0 -1 4194560 100 0 0 0 11 22 33 44 20 0 1 0 100 1000 50"
    assert parse_stat(line) == Stat(parent=7, ticks=33, children_ticks=77)


def test_smaps_rollup() -> None:
    text = "00400000-7fff rollup\nRss:  5000 kB\nPss:  1234 kB\nPss_Anon: 1000 kB\n"
    assert parse_smaps_rollup(text) == 1234 * 1024
    assert parse_smaps_rollup("") == 0


def test_children_and_those_that_ended_are_counted() -> None:
    child = "import time\nend = time.process_time() + 0.2\nwhile time.process_time() < end: pass"
    parent = (
        f"import subprocess, sys, time\nsubprocess.run([sys.executable, '-c', {child!r}])\n"
        "p = subprocess.Popen(['sleep', '30'])\nprint('ready', flush=True)\nsys.stdin.read()\np.kill()\np.wait()\n"
    )
    process = subprocess.Popen([sys.executable, "-c", parent], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    with process.stdin, process.stdout:
        assert process.stdout.readline() == b"ready\n"
        assert len(tree(process.pid)) == 2
        assert cpu_seconds(process.pid) >= 0.19
        assert memory(process.pid) > 1_000_000
        with Peak(process.pid, every=0.01) as peak:
            time.sleep(0.03)
        assert peak.bytes > 1_000_000
    process.wait()
    assert tree(process.pid) == {}


def test_counter_of_smtp_sink() -> None:
    assert last_count(b"sess=1 quit=0 mesg=3\rsess=1 quit=1 mesg=12\r") == 12
    assert last_count(b"") is None
