# SPDX-License-Identifier: GPL-3.0-or-later
"""A host's backup: what is in it, that it comes back as it was, and that nothing else is written."""

from __future__ import annotations

import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.postroad.relay.plugins.module_utils.host_backup import BackupError, HostBackup

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="writes files that belong to root")


class Queue:
    """The agent's queue, which packs a text."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []

    def pack(self, path: Path, *, leave: bool = False) -> dict[str, Any]:
        assert not leave
        path.write_bytes(b"mail")
        return {"messages": 2, "recipients": 3}

    def unpack(self, path: Path) -> dict[str, Any]:
        self.taken.append(path.read_bytes())
        return {"messages": 2}


def _host(root: Path, queue: Queue) -> HostBackup:
    return HostBackup(queue, etc=root / "etc", state=root / "state", user="root")  # type: ignore[arg-type]


@pytest.fixture
def queue() -> Queue:
    """What the mail goes to."""
    return Queue()


@pytest.fixture
def archive(tmp_path: Path, queue: Queue) -> Path:
    """A backup of a host."""
    etc, state = tmp_path / "etc", tmp_path / "state"
    for directory in (etc / "dkim/a.test", etc / "tls/versions/1", etc / "secrets", state):
        directory.mkdir(parents=True)
    (etc / "agent.toml").write_text("hostname = 'a'\n")
    (etc / "accounts.toml").write_text("[a]\n")
    (etc / "dkim/a.test/key.pem").write_text("key\n")
    (etc / "tls/versions/1/fullchain.pem").write_text("chain\n")
    (etc / "tls/current").symlink_to("versions/1")
    (etc / "tls/fullchain.pem").symlink_to("current/fullchain.pem")
    (etc / "tls/.unproved").touch()
    (etc / "drained.json").write_text("{}\n")
    (etc / "firewall.nft").write_text("table\n")
    (state / "suppression.jsonl").write_text("{}\n")
    path = tmp_path / "backup.tar"
    saved = _host(tmp_path, queue).save(path, "a.test", "0123456789ab")
    assert (saved["messages"], saved["recipients"]) == (2, 3)
    return path


def test_what_is_in_it(archive: Path) -> None:
    with tarfile.open(archive) as tar:
        names = tar.getnames()
    assert names[0] == "backup.json"
    assert set(names) == {
        "backup.json",
        "etc/accounts.toml",
        "etc/agent.toml",
        "etc/dkim/a.test/key.pem",
        "etc/tls/current",
        "etc/tls/fullchain.pem",
        "etc/tls/versions/1/fullchain.pem",
        "state/suppression.jsonl",
        "queue.parcel",
    }


def test_on_a_fresh_host_all_comes_back(archive: Path, tmp_path: Path, queue: Queue) -> None:
    fresh = _host(tmp_path / "fresh", queue)
    planned = fresh.restore_files(archive, overwrite=False, check_mode=True)
    assert not (tmp_path / "fresh").exists()
    restored = fresh.restore_files(archive, overwrite=False, check_mode=False)
    assert restored.written == planned.written
    etc = tmp_path / "fresh/etc"
    assert (etc / "tls/fullchain.pem").read_text() == "chain\n"
    assert (etc / "tls/current").readlink() == Path("versions/1")
    assert (etc / "dkim/a.test/key.pem").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "fresh/state/suppression.jsonl").stat().st_mode & 0o777 == 0o600
    assert not (etc / "drained.json").exists()
    assert fresh.restore_files(archive, overwrite=False, check_mode=False).written == [], "nothing to do again"
    fresh.restore_mail(archive)
    assert queue.taken == [b"mail"]


def test_a_host_with_files_of_its_own_is_refused(archive: Path, tmp_path: Path, queue: Queue) -> None:
    other = tmp_path / "other/etc"
    other.mkdir(parents=True)
    (other / "accounts.toml").write_text("[b]\n")
    host = _host(tmp_path / "other", queue)
    with pytest.raises(BackupError, match=r"accounts\.toml on this host are not as in the backup of a\.test"):
        host.restore_files(archive, overwrite=False, check_mode=False)
    assert [path.name for path in other.iterdir()] == ["accounts.toml"]
    host.restore_files(archive, overwrite=True, check_mode=False)
    assert (other / "accounts.toml").read_text() == "[a]\n"


@pytest.mark.parametrize(
    "member",
    [
        ("etc/../../outside", b"x", ""),
        ("/etc/passwd", b"x", ""),
        ("etc/tls/current", b"", "../../../outside"),
        ("etc/link", b"", "/outside"),
        ("other/x", b"x", ""),
    ],
)
def test_nothing_is_written_elsewhere(tmp_path: Path, queue: Queue, member: tuple[str, bytes, str]) -> None:
    name, content, link = member
    path = tmp_path / "evil.tar"
    head = json.dumps({"format": 1, "host": "x", "files": {name: "00"}}).encode()
    with tarfile.open(path, "w") as tar:
        for each, text, target in (("backup.json", head, ""), (name, content, link)):
            info = tarfile.TarInfo(each)
            info.size, info.linkname, info.type = len(text), target, tarfile.SYMTYPE if target else tarfile.REGTYPE
            tar.addfile(info, io.BytesIO(text))
    with pytest.raises(BackupError, match="has no place in a backup"):
        _host(tmp_path / "host", queue).restore_files(path, overwrite=True, check_mode=False)
    assert not (tmp_path / "host").exists()


def test_a_note_of_the_other_host_about_itself_is_passed_over(archive: Path, tmp_path: Path, queue: Queue) -> None:
    """There are backups that have one."""
    with tarfile.open(archive, "a") as tar:
        tar.addfile(tarfile.TarInfo("etc/tls/.unproved"), io.BytesIO(b""))
    fresh = tmp_path / "fresh"
    assert _host(fresh, queue).restore_files(archive, overwrite=False, check_mode=False).written
    assert not (fresh / "etc/tls/.unproved").exists()
    assert (fresh / "etc/agent.toml").exists()


def test_damage_is_seen_before_anything_is_written(archive: Path, tmp_path: Path, queue: Queue) -> None:
    content = bytearray(archive.read_bytes())
    content[content.index(b"chain\n")] = ord("X")
    archive.write_bytes(content)
    with pytest.raises(BackupError, match="the backup is damaged: etc/tls/versions/1"):
        _host(tmp_path / "fresh", queue).restore_files(archive, overwrite=False, check_mode=False)
    assert not (tmp_path / "fresh").exists()


def test_another_file_is_no_backup(tmp_path: Path, queue: Queue) -> None:
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w") as tar:
        tar.addfile(tarfile.TarInfo("etc/agent.toml"))
    with pytest.raises(BackupError, match="not a backup of a relay"):
        _host(tmp_path, queue).restore_files(path, overwrite=False, check_mode=False)
