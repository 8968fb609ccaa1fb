# SPDX-License-Identifier: GPL-3.0-or-later
"""`make up`: steps that fail, steps beside each other, the settings."""

import json
import sys
from pathlib import Path

import pytest
import up
from streaming import Stream

PROBES = [
    {"host": host, "port": port, "tls": tls}
    for host in ("relay1.test", "relay2.test")
    for port, tls in ((587, "starttls"), (465, "implicit"), (2525, "starttls"))
]


def step(name: str, code: str) -> up.Step:
    return up.Step(name, [sys.executable, "-c", code])


def test_a_failed_step_ends_the_row_and_is_named() -> None:
    made = up.Up(Stream())
    with pytest.raises(up.StepFailedError, match=r"second failed \(exit status 3\)"):
        made.run(step("first", ""), step("second", "raise SystemExit(3)"), step("third", ""))
    assert list(made.seconds) == ["first", "second"]


def test_rows_run_beside_each_other_and_both_end() -> None:
    made = up.Up(Stream())
    with pytest.raises(up.StepFailedError, match="bad failed"):
        made.run_together([step("bad", "raise SystemExit(1)")], [step("a", ""), step("b", "")])
    assert sorted(made.seconds) == ["a", "b", "bad"]


def test_settings_tell_all_but_the_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(up, "ROOT", tmp_path)
    (tmp_path / "secrets.yml").write_text(json.dumps({"accounts": {"alice": "s3cret", "probe": "x"}}))
    text = up.settings(PROBES, tmp_path)
    assert "relay1.test or relay2.test" in text
    assert "465 with SSL/TLS; 587, 2525 with STARTTLS" in text
    assert "user name   alice" in text
    assert "secrets.yml" in text
    assert "s3cret" not in text
