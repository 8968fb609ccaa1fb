# SPDX-License-Identifier: GPL-3.0-or-later
"""Files are kept and come back, with their rights, and what came since goes."""

from pathlib import Path

import pytest
from ansible_collections.postroad.relay.plugins.module_utils.snapshot import Snapshot, SnapshotError, put_back


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    directory = tmp_path / "etc"
    (directory / "secrets").mkdir(parents=True)
    (directory / "agent.toml").write_text("one")
    (directory / "agent.toml").chmod(0o640)
    (directory / "secrets/a").write_bytes(b"\xff secret")
    return directory


def take(etc: Path) -> Snapshot:
    files = [etc / "agent.toml", etc / "accounts.toml"]
    return Snapshot.take(etc.parent / "kept/1", "r1", files, [etc / "secrets"], applied=7.5)


def test_what_was_changed_added_and_removed_comes_back(etc: Path) -> None:
    snapshot = take(etc)
    (etc / "agent.toml").write_text("two")
    (etc / "agent.toml").chmod(0o600)
    (etc / "accounts.toml").write_text("was not there")
    (etc / "secrets/a").unlink()
    (etc / "secrets/b").write_text("new")
    changed = snapshot.put_back()
    assert {path.name for path in changed} == {"agent.toml", "accounts.toml", "a", "b"}
    assert (etc / "agent.toml").read_text() == "one"
    assert (etc / "agent.toml").stat().st_mode & 0o7777 == 0o640
    assert not (etc / "accounts.toml").exists()
    assert [path.name for path in (etc / "secrets").iterdir()] == ["a"]
    assert (etc / "secrets/a").read_bytes() == b"\xff secret"


def test_what_is_as_it_was_is_left_alone(etc: Path) -> None:
    snapshot = take(etc)
    before = (etc / "agent.toml").stat().st_ino
    assert snapshot.put_back() == []
    assert (etc / "agent.toml").stat().st_ino == before


def test_rights_alone_come_back(etc: Path) -> None:
    snapshot = take(etc)
    (etc / "agent.toml").chmod(0o666)
    assert snapshot.put_back() == [etc / "agent.toml"]


def test_a_directory_that_is_gone_comes_back(etc: Path) -> None:
    snapshot = take(etc)
    (etc / "secrets/a").unlink()
    (etc / "secrets").rmdir()
    assert snapshot.put_back() == [etc / "secrets/a"]


def test_it_says_what_it_is_of_and_root_alone_can_read_it(etc: Path) -> None:
    snapshot = take(etc)
    assert snapshot.release == "r1"
    assert snapshot.manifest()["applied"] == 7.5
    assert snapshot.directory.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in snapshot.directory.iterdir()} == {0o600}


def test_equal_files_have_equal_digests(etc: Path) -> None:
    first = take(etc).digest()
    assert take(etc).digest() == first
    (etc / "secrets/a").write_text("other")
    assert take(etc).digest() != first


def test_a_damaged_copy_replaces_nothing(etc: Path) -> None:
    snapshot = take(etc)
    (snapshot.directory / "0000").write_text("rubbish")
    (etc / "agent.toml").write_text("two")
    with pytest.raises(SnapshotError, match=r"copy of .*agent\.toml .* is damaged"):
        snapshot.put_back()
    assert (etc / "agent.toml").read_text() == "two"


@pytest.mark.parametrize("manifest", ["", "[]", '{"release": "r1"}'])
def test_what_is_no_snapshot_is_said_to_be_none(etc: Path, manifest: str) -> None:
    snapshot = take(etc)
    (snapshot.directory / "manifest.json").write_text(manifest)
    with pytest.raises(SnapshotError, match="nothing that can be put back"):
        snapshot.put_back()


def test_no_half_of_it_is_left_by_a_run_that_broke_off(etc: Path) -> None:
    staging = etc.parent / "kept/.1.new"
    staging.mkdir(parents=True)
    (staging / "0007").write_text("of before")
    snapshot = take(etc)
    assert not staging.exists()
    assert not (snapshot.directory / "0007").exists()
    snapshot.remove()
    assert not snapshot.directory.exists()


def test_what_fails_late_has_changed_nothing(etc: Path) -> None:
    first = Snapshot.take(etc.parent / "kept/1", "r1", [etc / "agent.toml"], [etc / "secrets"])
    second = Snapshot.take(etc.parent / "kept/2", "", [etc / "accounts.toml", etc / "secrets/a"])
    (etc / "agent.toml").write_text("two")
    (etc / "secrets/a").write_text("new")
    (etc / "secrets/b").write_text("new")
    (second.directory / "0001").write_text("rubbish")
    before = {path.name: path.read_bytes() for path in etc.rglob("*") if path.is_file()}
    with pytest.raises(SnapshotError):
        put_back([first, second])
    assert {path.name: path.read_bytes() for path in etc.rglob("*") if path.is_file()} == before


def test_what_was_found_is_told_apart(etc: Path) -> None:
    snapshot = take(etc)
    first = snapshot.found()
    (etc / "accounts.toml").write_text("")
    second = snapshot.found()
    (etc / "accounts.toml").write_text("bob")
    assert len({first, second, snapshot.found()}) == 3
    (etc / "accounts.toml").unlink()
    assert snapshot.found() == first
