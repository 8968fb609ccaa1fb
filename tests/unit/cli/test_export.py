# SPDX-License-Identifier: GPL-3.0-or-later
import asyncio
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import pytest

from relay_agent.cli.main import main
from relay_agent.queue.body import MemoryBody
from tests.unit.cli.test_queue import message, put


@pytest.fixture
def run(config: Path) -> Any:
    return lambda *arguments: main(["queue", "export", *arguments, "--config", str(config)])


def test_messages_become_files_and_stay(run: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ours, other = message("bob@beta.test"), message("carl@gamma.test", later=1)
    ours.body = MemoryBody(b"Subject: hello\r\n\r\n" + bytes(range(256)) * 8192)
    asyncio.run(put(tmp_path / "queue", ours, other))
    target = tmp_path / "new" / "place"
    assert run("--destination", "beta.test", "--to", str(target)) == 0
    assert capsys.readouterr().out == f"1 message written to {target}\n"
    assert (target / f"{ours.queue_id}.eml").read_bytes() == ours.body.read()
    assert json.loads((target / f"{ours.queue_id}.json").read_text())["sender"] == "alice@alpha.test"
    assert {path.stat().st_mode & 0o777 for path in target.iterdir()} == {0o600}
    assert run(other.queue_id.lower(), "NOTHING", "--to", str(target), "--json") == 1
    assert json.loads(capsys.readouterr().out) == {
        "messages": 1,
        "ids": [other.queue_id],
        "left": [],
        "unknown": ["NOTHING"],
    }
    assert len(list(target.iterdir())) == 4
    assert main(["queue", "list", "--json", "--config", str(tmp_path / "agent.toml")]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 2


def test_a_link_in_the_way_is_not_followed(run: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ours = message("bob@beta.test")
    asyncio.run(put(tmp_path / "queue", ours))
    precious = tmp_path / "precious"
    precious.write_text("precious")
    target = tmp_path / "target"
    target.mkdir()
    (target / f"{ours.queue_id}.eml").symlink_to(precious)
    assert run("--all", "--to", str(target)) == 1
    assert precious.read_text() == "precious"
    assert ours.queue_id in capsys.readouterr().err


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act for the queue's owner")
def test_root_exports_from_a_queue_of_another_user(config: Path) -> None:
    ours = message("bob@beta.test")
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        queue = root / "queue"
        asyncio.run(put(queue, ours))
        for path in (root, queue, *queue.rglob("*")):
            os.chown(path, 54321, 54321)
        changed = root / "agent.toml"
        changed.write_text(config.read_text().replace(str(config.parent / "queue"), str(queue)))
        # Below a directory that is root's alone.
        target = config.parent / "exported"
        command = ["queue", "export", "--all", "--to", str(target), "--config", str(changed)]
        done = subprocess.run(
            [sys.executable, "-m", "relay_agent", *command],
            capture_output=True,
            text=True,
            cwd=Path(__file__).parents[3],
        )
        assert done.returncode == 0, done.stderr
        assert (target / f"{ours.queue_id}.eml").read_bytes() == ours.body.read()
        assert {path.stat().st_uid for path in (queue, *queue.rglob("*"))} == {54321}


def test_an_archive_goes_to_standard_output(
    run: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = message("bob@beta.test")
    asyncio.run(put(tmp_path / "queue", ours))
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw))
    assert run("--all", "--tar") == 0
    with tarfile.open(fileobj=io.BytesIO(raw.getvalue())) as archive:
        assert archive.getnames() == [f"{ours.queue_id}.eml", f"{ours.queue_id}.json"]
        content = archive.extractfile(f"{ours.queue_id}.eml")
        assert content is not None
        assert content.read() == ours.body.read()
    assert run("--all", "--tar", "--json") == 2
