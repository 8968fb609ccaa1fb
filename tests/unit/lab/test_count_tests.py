# SPDX-License-Identifier: GPL-3.0-or-later
"""The check that a scenario's tests did run."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "molecule/shared/count_tests.py"


def count(path: Path, at_least: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), str(path), "--at-least", str(at_least)]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.parametrize(("at_least", "status"), [(7, 0), (8, 0), (9, 1)])
def test_skipped_tests_do_not_count(tmp_path: Path, at_least: int, status: int) -> None:
    path = tmp_path / "junit.xml"
    path.write_text('<testsuites><testsuite tests="10" skipped="2" failures="0" errors="0"/></testsuites>')
    assert count(path, at_least).returncode == status


@pytest.mark.parametrize("text", [None, "", "<testsuites><testsuite"])
def test_a_missing_or_broken_file_is_no_test(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "junit.xml"
    if text is not None:
        path.write_text(text)
    done = count(path, 1)
    assert done.returncode == 1
    assert done.stderr.startswith("no test ran")
