# SPDX-License-Identifier: GPL-3.0-or-later
"""The figures of the deployment: what a recap counts, and when a target is reached."""

import pytest
from bench_deploy import BenchFailedError, Figure, table, tasks_of_one_host

RECAP = """
PLAY RECAP *****
relay1                     : ok=5    changed=2    unreachable=0    failed=0    skipped=3    rescued=0    ignored=0
relay2                     : ok=4    changed=2    unreachable=0    failed=0    skipped=0    rescued=0    ignored=0
"""


def test_tasks_are_those_run_and_those_skipped() -> None:
    assert tasks_of_one_host(RECAP, "relay1") == 8
    with pytest.raises(BenchFailedError, match="no recap line for relay3"):
        tasks_of_one_host(RECAP, "relay3")


def test_verdict() -> None:
    assert Figure("make up", "45 s", 45, 44.9).cells[2:4] == ("44.9 s", "reached")
    assert Figure("make up", "45 s", 45, 45.2).cells[2:4] == ("45.2 s", "MISSED")
    assert Figure("the same, tasks", "25", 25, 8).cells[2:4] == ("8", "reached")
    assert Figure("make test", "20 min", 1200, None).cells[2] == "not measured"


def test_table_lines_up() -> None:
    assert table([("a", "bb"), ("ccc", "d")]).splitlines() == ["a    bb", "---  --", "ccc  d"]
