# SPDX-License-Identifier: GPL-3.0-or-later
"""`relay-agent suppression` without an agent; tests/integration/agent runs it with one."""

import io
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from relay_agent.cli.main import main
from relay_agent.queue.lock import QueueLock
from tests.feedback import feedback_report


def run(config: Path, *words: str) -> int:
    return main(["suppression", *words, "--config", str(config)])


@pytest.fixture
def refusing(config: Path) -> Path:
    config.write_text(config.read_text() + '[suppression]\nmode = "refuse"\n')
    return config


def test_from_the_first_entry_to_its_end(refusing: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(refusing, "list") == 0
    assert capsys.readouterr().out == "nobody is on the list\n"
    assert run(refusing, "add", "Bob@beta.test", "--reason", "asked by \x1b[31mphone") == 0
    assert capsys.readouterr().out == "bob@beta.test is on the list\n"
    assert run(refusing, "add", "carol@beta.test", "--account", "Newsletter", "--json") == 0
    assert json.loads(capsys.readouterr().out)["owner"] == "newsletter"
    assert run(refusing, "list") == 0
    shown = capsys.readouterr().out
    assert "(everybody)" in shown
    assert "newsletter" in shown
    assert "\x1b" not in shown
    assert run(refusing, "list", "--json", "--limit", "1") == 0
    assert [each["address"] for each in json.loads(capsys.readouterr().out)] == ["carol@beta.test"]
    assert run(refusing, "show", "bob@beta.test") == 0
    assert "bob@beta.test was put here on 20" in capsys.readouterr().out
    assert run(refusing, "remove", "bob@beta.test") == 0
    assert "may be written to again" in capsys.readouterr().out
    assert run(refusing, "remove", "carol@beta.test", "--account", "alice") == 1
    assert "is not on the suppression list" in capsys.readouterr().err
    assert run(refusing, "remove", "carol@beta.test", "--account", "newsletter", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"address": "carol@beta.test", "removed": 1}


def test_it_says_when_it_is_off(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(config, "add", "bob@beta.test") == 0
    assert 'suppression.mode is "off"' in capsys.readouterr().err


def test_a_report_from_a_file_and_from_a_pipe(
    refusing: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "report.eml").write_bytes(feedback_report())
    assert run(refusing, "import-report", str(tmp_path / "report.eml")) == 0
    assert capsys.readouterr().out == "on the list: bob@beta.test\n"
    piped = feedback_report(recipient="Original-Rcpt-To: carol@beta.test\n")
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(piped)))
    assert run(refusing, "import-report", "--json") == 0
    assert json.loads(capsys.readouterr().out)["entries"][0]["address"] == "carol@beta.test"
    assert run(refusing, "show", "carol@beta.test") == 0
    shown = capsys.readouterr().out
    assert "has complained" in shown
    assert "it was about mail from <news@alpha.test>" in shown


def test_what_is_no_complaint_is_told(
    refusing: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(b"Subject: x\n\n")))
    assert run(refusing, "import-report") == 1
    assert "standard input is not a report" in capsys.readouterr().err
    (tmp_path / "report.eml").write_bytes(feedback_report(kind="not-spam"))
    assert run(refusing, "import-report", str(tmp_path / "report.eml")) == 0
    assert "a report of not-spam" in capsys.readouterr().out
    assert run(refusing, "import-report", str(tmp_path / "missing.eml")) == 1
    assert "missing.eml: No such file" in capsys.readouterr().err


def test_an_agent_that_does_not_answer_has_the_queue(refusing: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lock = QueueLock(refusing.parent / "queue")
    try:
        assert run(refusing, "list") == 1
    finally:
        lock.close()
    assert capsys.readouterr().err
