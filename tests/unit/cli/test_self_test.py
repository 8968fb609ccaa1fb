# SPDX-License-Identifier: GPL-3.0-or-later
"""The test that a release does of itself before it is put to use: it passes here, and it sees what is broken."""

import json
import os
import shutil
import ssl
import subprocess
import sys
from pathlib import Path

import pytest

from relay_agent.cli.main import main

ROOT = Path(__file__).parents[3]


def run(*options: str, root: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "relay_agent", "self-test", *options],
        cwd=root,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


def copy(directory: Path) -> Path:
    """The agent in a directory of its own, to be broken."""
    shutil.copytree(ROOT / "relay_agent", directory / "relay_agent")
    return directory


def test_it_passes_and_leaves_nothing(tmp_path: Path) -> None:
    result = run(TMPDIR=str(tmp_path))
    assert result.returncode == 0, result.stdout + result.stderr
    assert [line.partition(":")[0] for line in result.stdout.splitlines()] == [
        f"good  {name}" for name in ("Python", "modules", "TLS", "SQLite", "passwords", "queue")
    ]
    assert "modules of release" in result.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_module_that_cannot_be_loaded_is_found(tmp_path: Path) -> None:
    root = copy(tmp_path)
    # No command needs it: only a test that loads every module can see it.
    (root / "relay_agent" / "delivery" / "extra.py").write_text("import no_such_library\n")
    result = run("--json", root=root)
    assert result.returncode == 1
    shown = json.loads(result.stdout)
    assert shown["good"] is False
    bad = {test["test"]: test["detail"] for test in shown["tests"] if not test["good"]}
    assert bad == {"modules": "ModuleNotFoundError: No module named 'no_such_library'"}
    assert len(shown["tests"]) == 6
    assert all(test["seconds"] >= 0 for test in shown["tests"])


def test_libraries_that_are_too_old_are_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ssl, "OPENSSL_VERSION_INFO", (1, 1, 1, 0, 0))
    monkeypatch.setattr(ssl, "OPENSSL_VERSION", "OpenSSL 1.1.1\x1b")
    monkeypatch.setattr("sqlite3.sqlite_version_info", (3, 36, 9))
    monkeypatch.setattr("sqlite3.sqlite_version", "3.36.9")
    assert main(["self-test"]) == 1
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("BAD ")]
    assert lines == [
        r"BAD   TLS: RuntimeError: OpenSSL 1.1.1\x1b is too old (expected 3.0 or newer)",
        "BAD   SQLite: RuntimeError: SQLite 3.36.9 is too old (expected 3.37 or newer)",
    ]
