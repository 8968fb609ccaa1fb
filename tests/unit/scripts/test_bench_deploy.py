# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line of the benchmark of deployment, and what it leaves behind."""

import json
from pathlib import Path

import pytest
from bench_deploy import parse, record
from bench_figures import Figure
from bench_fleet import ROWS


def test_without_words_everything_is_measured() -> None:
    options = parse([])
    assert options.parts == ["up", "fleet"]
    assert options.rows == list(ROWS)


def test_one_part_and_some_of_its_rows() -> None:
    options = parse(["fleet", "--prepared", "--rows", "noop", "change"])
    assert (options.parts, options.rows, options.prepared) == (["fleet"], ["noop", "change"], True)


def test_an_unknown_part_is_answered_with_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["flet"])
    assert "no such part: flet (expected up, fleet)" in capsys.readouterr().err


def test_the_figures_are_kept_with_commit_and_time(tmp_path: Path) -> None:
    place = tmp_path / "build/bench.json"
    record([Figure("one", "8 s", 8, 5.5, "quick")], place)
    kept = json.loads(place.read_text())
    assert kept["figures"] == [
        {"name": "one", "target": "8 s", "limit": 8, "measured": 5.5, "remark": "quick", "unit": "s"}
    ]
    assert kept["commit"]
    assert kept["finished"].endswith("Z")
