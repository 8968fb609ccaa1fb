# SPDX-License-Identifier: GPL-3.0-or-later
import os
from pathlib import Path

import pytest

from relay_agent.queue.directory import StoreLockedError
from relay_agent.queue.lock import QueueLock, store_numbers


def test_one_holder_at_a_time_and_the_other_learns_who(tmp_path: Path) -> None:
    first = QueueLock(tmp_path / "queue")
    with pytest.raises(StoreLockedError) as caught:
        QueueLock(tmp_path / "queue")
    assert str(os.getpid()) in str(caught.value)
    first.close()
    QueueLock(tmp_path / "queue").close()


def test_a_lock_that_an_earlier_program_of_the_process_took_is_kept(tmp_path: Path) -> None:
    first = QueueLock(tmp_path)
    again = QueueLock(tmp_path, fd=first.fd)
    assert not os.get_inheritable(again.fd)
    with pytest.raises(StoreLockedError):
        QueueLock(tmp_path)
    again.close()


def test_the_stores_are_the_directories_that_are_named_by_a_number(tmp_path: Path) -> None:
    assert store_numbers(tmp_path / "nothing") == []
    for name in ("10", "2", "0", "02", "-1", "journal", "²"):
        (tmp_path / name).mkdir()
    (tmp_path / "5").touch()
    assert store_numbers(tmp_path) == [0, 2, 10]
