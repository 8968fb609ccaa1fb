# SPDX-License-Identifier: GPL-3.0-or-later
import gc
import weakref

from relay_agent.worker.collecting import collect_and_freeze


class Node:
    """May be part of a cycle."""

    other: "Node"


def test_what_is_there_is_not_looked_through_again() -> None:
    before, kept = Node(), Node()
    before.other = before
    gone = weakref.ref(before)
    del before
    try:
        collect_and_freeze()
        assert gone() is None  # collected, not frozen
        assert not any(each is kept for each in gc.get_objects())
        later = Node()
        assert any(each is later for each in gc.get_objects())
        later.other = later
        gone = weakref.ref(later)
        del later
        gc.collect()
        assert gone() is None  # what came afterwards is collected as ever
    finally:
        gc.unfreeze()
