# SPDX-License-Identifier: GPL-3.0-or-later
"""The figures of the deployment: what a recap counts, and when a target is reached."""

import sys

import pytest
from bench_figures import BenchFailedError, Figure, recap, table, tasks_of_one_host, timed
from streaming import Stream

RECAP = """
PLAY RECAP *****
relay1                     : ok=5    changed=2    unreachable=0    failed=0    skipped=3    rescued=0    ignored=0
relay2                     : ok=4    changed=0    unreachable=0    failed=1    skipped=0    rescued=0    ignored=0
"""


def test_tasks_are_those_run_and_those_skipped() -> None:
    assert tasks_of_one_host(RECAP, "relay1") == 8
    with pytest.raises(BenchFailedError, match="no recap line for relay3"):
        tasks_of_one_host(RECAP, "relay3")


def test_a_recap_is_read_host_by_host() -> None:
    counted = recap(RECAP)
    assert list(counted) == ["relay1", "relay2"]
    assert (counted["relay1"].changed, counted["relay2"].changed) == (2, 0)
    assert (counted["relay1"].failed, counted["relay2"].failed) == (0, 1)


def test_verdict() -> None:
    assert Figure("make up", "45 s", 45, 44.9).cells[2:4] == ("44.9 s", "reached")
    assert Figure("make up", "45 s", 45, 45.2).cells[2:4] == ("45.2 s", "MISSED")
    assert Figure("the same, tasks", "25", 25, 8, unit="tasks").cells[2:4] == ("8", "reached")
    assert Figure("failed submissions", "0", 0, 0, unit="messages").cells[2:4] == ("0", "reached")
    assert Figure("failed submissions", "0", 0, 1, unit="messages").cells[2:4] == ("1", "MISSED")
    assert Figure("make test", "20 min", 1200, None).cells[2] == "not measured"
    assert not Figure("make test", "20 min", 1200, None).missed


def test_table_lines_up() -> None:
    assert table([("a", "bb"), ("ccc", "d")]).splitlines() == ["a    bb", "---  --", "ccc  d"]


def test_a_command_that_fails_is_no_measurement() -> None:
    seconds, output = timed(Stream(), "one that works", [sys.executable, "-c", "print('done')"])
    assert seconds > 0
    assert output == "done\n"
    with pytest.raises(BenchFailedError, match=r"one that fails failed \(exit status 3\)"):
        timed(Stream(), "one that fails", [sys.executable, "-c", "raise SystemExit(3)"])
