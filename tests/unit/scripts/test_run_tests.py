# SPDX-License-Identifier: GPL-3.0-or-later
"""The sum over JUnit files, and what counts as a failure."""

from pathlib import Path

import pytest
import yaml
from lint import write_junit
from run_tests import StageResult, Tally, failures, read_junit, report, scenarios, settle
from streaming import ROOT, Outcome, Stream

PYTEST = """<?xml version="1.0"?><testsuites name="pytest tests">
<testsuite name="unit" errors="1" failures="2" skipped="3" tests="20" time="1"><testcase name="a"/></testsuite>
</testsuites>"""


def test_passed_is_what_neither_failed_nor_was_skipped(tmp_path: Path) -> None:
    path = tmp_path / "unit.xml"
    path.write_text(PYTEST)
    assert read_junit(path) == Tally(passed=14, failed=3, skipped=3)


def test_a_file_that_is_missing_or_cut_short_counts_nothing(tmp_path: Path) -> None:
    assert read_junit(tmp_path / "none.xml") == Tally()
    path = tmp_path / "cut.xml"
    path.write_text(PYTEST[:60])
    assert read_junit(path) == Tally()


@pytest.mark.parametrize(
    ("tally", "status", "settled"),
    [
        (Tally(5, 0), 0, Tally(5, 0)),
        (Tally(5, 2), 1, Tally(5, 2)),
        (Tally(5, 0), 1, Tally(5, 1)),  # broke off after the tests
        (Tally(0, 0), 0, Tally(0, 1)),  # nothing ran: no success
    ],
)
def test_a_stage_fails_even_if_no_case_says_so(tally: Tally, status: int, settled: Tally) -> None:
    assert settle(tally, status) == settled


def test_the_last_line_is_the_total(capsys: pytest.CaptureFixture[str]) -> None:
    good = [StageResult("lint", 1.0, 7, 0, 0), StageResult("unit", 2.0, 30, 0, 1)]
    assert report(Stream(), good) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "37 passed, 0 failed"
    assert report(Stream(), [*good, StageResult("molecule-default", 2.0, 3, 2, 0)]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "40 passed, 2 failed"


def test_what_failed_is_named(tmp_path: Path) -> None:
    path = tmp_path / "unit.xml"
    path.write_text(
        '<testsuites><testsuite><testcase classname="tests.a" name="good"/>'
        '<testcase classname="tests.a" name="bad"><failure message="assert 1 == 2&#10;more">long</failure></testcase>'
        '<testcase classname="tests.b" name="broken"><error>no such host</error></testcase></testsuite></testsuites>'
    )
    assert failures(path) == ["tests.a::bad: 'assert 1 == 2\\nmore'", "tests.b::broken: 'no such host'"]
    assert failures(tmp_path / "none.xml") == []


def test_scenarios_are_found_and_the_default_is_the_first(tmp_path: Path) -> None:
    for name in ("delivery", "default", "clusters"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "molecule.yml").touch()
    (tmp_path / "shared").mkdir()
    assert scenarios(tmp_path) == ("default", "clusters", "delivery")


@pytest.mark.parametrize("name", scenarios(ROOT / "molecule"))
def test_a_scenario_writes_where_its_results_are_looked_for(name: str) -> None:
    settings = yaml.safe_load((ROOT / "molecule" / name / "molecule.yml").read_text())
    junit = f"${{MOLECULE_PROJECT_DIRECTORY}}/.build/junit/molecule-{name}.xml"
    assert settings["verifier"]["options"]["junitxml"] == junit
    assert settings["ansible"]["env"]["POSTROAD_JUNIT"] == junit
    # The labs of two scenarios are one after the other the same.
    assert settings["scenario"]["test_sequence"][0] == "destroy"
    assert settings["scenario"]["test_sequence"][-1] == "destroy"


def test_linters_are_cases_of_the_same_form(tmp_path: Path) -> None:
    path = tmp_path / "junit" / "lint.xml"
    write_junit(path, {"ruff": Outcome(0, 0.1, ""), "mypy": Outcome(1, 2.0, "error: <&>")})
    assert read_junit(path) == Tally(passed=1, failed=1)
