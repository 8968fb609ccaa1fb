# SPDX-License-Identifier: GPL-3.0-or-later
"""The directory of a store: one holder, whoever made it."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from relay_agent.queue.directory import StoreDirectory, StoreLockedError


def test_it_makes_its_places_for_the_agent_alone(tmp_path: Path) -> None:
    store = StoreDirectory(tmp_path / "queue", 3)
    assert store.root == tmp_path / "queue" / "3"
    for path in (store.root, store.bodies, store.spool, store.journal):
        assert path.is_dir()
        assert path.stat().st_mode & 0o777 == 0o700
    store.close()


def test_a_directory_that_another_worker_makes_in_the_same_moment_is_no_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a kill -9 the old workers hold their stores for a moment, and all the new ones try the same free one."""
    make = Path.mkdir

    def somebody_else_first(path: Path, mode: int = 0o777, **options: Any) -> None:
        make(path, mode=mode, parents=True, exist_ok=True)
        make(path, mode=mode, **options)

    monkeypatch.setattr(Path, "mkdir", somebody_else_first)
    store = StoreDirectory(tmp_path / "queue", 2)
    assert store.spool.is_dir()
    store.close()


def test_of_many_that_want_a_new_store_one_has_it(tmp_path: Path) -> None:
    stores: list[StoreDirectory] = []
    outcomes: list[str] = []

    def take(number: int, together: threading.Barrier) -> None:
        together.wait()
        try:
            stores.append(StoreDirectory(tmp_path / "queue", number))
            outcomes.append("has it")
        except StoreLockedError:
            outcomes.append("locked")
        except OSError as error:
            outcomes.append(str(error))

    for number in range(50):
        together = threading.Barrier(4)
        threads = [threading.Thread(target=take, args=(number, together)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for store in stores:
        store.close()
    assert (outcomes.count("has it"), outcomes.count("locked")) == (50, 150), set(outcomes)


def test_what_is_no_directory_is_said(tmp_path: Path) -> None:
    (tmp_path / "queue" / "0").mkdir(parents=True)
    (tmp_path / "queue" / "0" / "bodies").write_text("no place for mail")
    with pytest.raises(FileExistsError, match="bodies"):
        StoreDirectory(tmp_path / "queue", 0)
    (tmp_path / "queue" / "0" / "bodies").unlink()
    StoreDirectory(tmp_path / "queue", 0).close()  # the lock was let go
