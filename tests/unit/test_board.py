# SPDX-License-Identifier: GPL-3.0-or-later
"""The board on which workers say how many sessions they have."""

from __future__ import annotations

import os

from relay_agent.board import Board


def test_who_has_clearly_more_lets_others_go_first() -> None:
    supervisor = Board()
    one, other = Board(os.dup(supervisor.fd), 1), Board(os.dup(supervisor.fd), 2)
    assert not one.others_first(1000)  # nobody else takes connections
    one.put(5)
    assert not one.others_first(5)
    other.put(3)
    assert not one.others_first(5)  # two more do not matter
    other.put(2)
    assert one.others_first(5)
    assert not other.others_first(2)
    supervisor.leave(2)  # it was killed
    assert not one.others_first(5)
    other.put(0)
    other.leave()
    assert not one.others_first(5)
    for board in (one, other, supervisor):
        board.close()


def test_places_beyond_the_last_are_shared() -> None:
    board = Board(place=64 * 3 + 7)
    board.put(2)
    assert board.others_first(5)
    board.leave(7)
    assert not board.others_first(5)
    board.close()


def test_no_program_that_is_started_gets_it_by_itself() -> None:
    board = Board()
    assert not os.get_inheritable(board.fd)
    board.close()
