# SPDX-License-Identifier: GPL-3.0-or-later
import json
from pathlib import Path

import pytest

from relay_agent.accounts.hashing import DUMMY_HASH
from relay_agent.accounts.store import Account, render
from relay_agent.cli.main import main


@pytest.fixture
def good(config: Path) -> Path:
    (config.parent / "accounts.toml").write_text(render({"alice": Account("alice", DUMMY_HASH)}))
    return config


def test_a_good_file_is_0(good: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check-config", str(good)]) == 0
    assert capsys.readouterr().out == f"{good}: good\n"
    assert main(["check-config", "--json", str(good)]) == 0
    assert json.loads(capsys.readouterr().out) == {"file": str(good), "good": True, "problems": [], "warnings": []}


def test_a_bad_file_is_2_and_each_problem_a_line(good: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good.write_text(good.read_text().replace("2587", "99999").replace("hostname", "hostnam"))
    assert main(["check-config", str(good)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    problems = [line for line in captured.err.splitlines() if line.startswith(f"{good}: ")]
    assert len(problems) == 3
    assert f"{good}: listener[0].port: 99999 is not a port" in captured.err
    assert "has 3 problems" in captured.err
    assert main(["check-config", "--json", str(good)]) == 2
    shown = json.loads(capsys.readouterr().out)
    assert not shown["good"]
    assert {problem["key"] for problem in shown["problems"]} == {"hostname", "hostnam", "listener[0].port"}


def test_the_text_alone_can_be_judged_elsewhere(good: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (good.parent / "accounts.toml").unlink()
    assert main(["check-config", str(good)]) == 2
    assert "accounts.file" in capsys.readouterr().err
    assert main(["check-config", "--text-only", str(good)]) == 0


def test_a_warning_does_not_stop_anything(good: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (good.parent / "accounts.toml").write_text("")
    assert main(["check-config", str(good)]) == 0
    assert "warning: " in capsys.readouterr().out
