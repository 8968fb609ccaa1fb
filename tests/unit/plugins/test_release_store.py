# SPDX-License-Identifier: GPL-3.0-or-later
"""Releases installed by this Python into a temporary directory: complete or not there at all."""

import subprocess
from pathlib import Path

import pytest
from ansible_collections.postroad.relay.plugins.module_utils.release_store import ReleaseError, ReleaseStore

from tests.unit.plugins.releases import BROKEN, archive


@pytest.fixture
def store(tmp_path: Path) -> ReleaseStore:
    return ReleaseStore(tmp_path / "opt", tmp_path / "bin" / "relay-agent")


def test_a_release_is_installed_and_switched_to(store: ReleaseStore, tmp_path: Path) -> None:
    store.install("aaaaaaaa", archive(tmp_path / "a.tar.gz", "aaaaaaaa"))
    assert store.current() is None
    assert store.installed() == ["aaaaaaaa"]
    store.switch("aaaaaaaa")
    assert store.current() == "aaaaaaaa"
    done = subprocess.run([store.command, "status"], capture_output=True, text=True, check=True)
    assert done.stdout == "['status']\n"
    assert not list(store.releases.glob(".*.partial"))


def test_a_release_that_fails_its_own_test_leaves_nothing(store: ReleaseStore, tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match="no ssl here"):
        store.install("bbbbbbbb", archive(tmp_path / "b.tar.gz", "bbbbbbbb", BROKEN))
    assert list(store.releases.iterdir()) == []


@pytest.mark.parametrize("name", ["site-packages/../../../evil", "site-packages/a/../../b"])
def test_nothing_is_written_outside_the_release(store: ReleaseStore, tmp_path: Path, name: str) -> None:
    with pytest.raises(ReleaseError, match="no place"):
        store.install("cccccccc", archive(tmp_path / "c.tar.gz", "cccccccc", extra={name: b"x"}))
    assert list(store.releases.iterdir()) == []


def test_a_file_that_is_no_release_is_refused(store: ReleaseStore, tmp_path: Path) -> None:
    (tmp_path / "junk").write_bytes(b"junk")
    with pytest.raises(ReleaseError):
        store.install("dddddddd", tmp_path / "junk")


@pytest.mark.parametrize("name", ["", "..", "../x", "current", "AAAAAAAA", "aaaaaaa/"])
def test_what_cannot_be_a_release_s_name(store: ReleaseStore, name: str) -> None:
    with pytest.raises(ReleaseError, match="not the name"):
        store.path(name)


def fake(store: ReleaseStore, *names: str) -> None:
    for name in names:
        (store.path(name)).mkdir(parents=True)
        (store.path(name) / "release.json").write_text("{}")


def test_what_broke_off_is_removed_by_the_next_installation(store: ReleaseStore, tmp_path: Path) -> None:
    fake(store, "aaaaaaaa")
    (store.releases / ".eeeeeeee.partial").mkdir()
    store.path("eeeeeeee").mkdir()
    assert not store.is_complete("eeeeeeee")
    store.install("bbbbbbbb", archive(tmp_path / "b.tar.gz", "bbbbbbbb"))
    assert sorted(path.name for path in store.releases.iterdir()) == ["aaaaaaaa", "bbbbbbbb"]


def test_three_are_kept_by_time_of_use(store: ReleaseStore) -> None:
    names = ["11111111", "22222222", "33333333", "44444444"]
    fake(store, *names, "99999999")
    for name in names:
        store.switch(name)
        store.mark_used(name)
    store.switch("22222222")
    # 9 was never in use; of the others 1 was in use longest ago.
    assert sorted(store.prune(3)) == ["11111111", "99999999"]
    assert sorted(store.installed()) == ["22222222", "33333333", "44444444"]


def test_current_is_never_removed(store: ReleaseStore) -> None:
    fake(store, "11111111", "22222222")
    store.mark_used("22222222")
    store.switch("11111111")
    assert store.prune(1) == ["22222222"]
    assert store.installed() == ["11111111"]


def test_no_current_after_it_was_taken_away(store: ReleaseStore) -> None:
    fake(store, "11111111")
    store.switch("11111111")
    store.switch(None)
    assert store.current() is None


def test_two_runs_do_not_work_on_one_host_at_once(store: ReleaseStore) -> None:
    with store.exclusive(), pytest.raises(ReleaseError, match="another run"), store.exclusive(seconds=0.2):
        pass
    with store.exclusive(seconds=0.2):
        pass
