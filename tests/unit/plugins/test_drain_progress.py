# SPDX-License-Identifier: GPL-3.0-or-later
"""What is told while a queue empties, and when waiting ends."""

from ansible_collections.postroad.relay.plugins.plugin_utils.drain_progress import Progress, what_to_do


def test_a_line_for_each_change_and_one_now_and_then() -> None:
    progress = Progress("relay1", 60.0)
    assert progress.seen(1000, 1100, 0, 5.0) == ("relay1: 1,000 messages wait, 0 left in 0 s", True)
    assert progress.seen(1000, 1100, 0, 7.0) == ("", True)
    assert progress.seen(750, 800, 2, 10.0) == (
        "relay1: 750 messages wait, 2 recipients held, 250 left in 5 s, about 15 s more",
        True,
    )
    assert progress.seen(750, 800, 2, 19.0) == ("", True)
    line, more = progress.seen(750, 800, 2, 21.0)
    assert line
    assert more


def test_patience_ends() -> None:
    progress = Progress("relay1", 10.0)
    assert progress.seen(5, 5, 0, 0.0)[1]
    assert not progress.seen(4, 4, 0, 10.0)[1]


def test_nobody_waits_for_what_is_held() -> None:
    progress = Progress("relay1", 300.0)
    assert progress.seen(5, 6, 6, 0.0)[1]
    assert progress.seen(5, 6, 6, 9.0)[1]
    assert not progress.seen(5, 6, 6, 11.0)[1]


def test_nobody_waits_for_what_is_held_after_the_rest_has_left() -> None:
    progress = Progress("relay1", 300.0)
    assert progress.seen(9, 10, 3, 0.0)[1]
    # Three recipients are held, and three messages left; but one of them has a recipient who may still be reached.
    assert progress.seen(3, 4, 3, 20.0)[1]
    assert progress.seen(3, 4, 3, 60.0)[1]
    assert progress.seen(3, 3, 3, 70.0)[1]
    assert progress.seen(3, 3, 3, 79.0)[1]
    assert not progress.seen(3, 3, 3, 81.0)[1]


def test_what_is_released_is_waited_for() -> None:
    progress = Progress("relay1", 300.0)
    assert progress.seen(1, 1, 1, 0.0)[1]
    assert progress.seen(1, 1, 0, 9.0)[1]
    assert progress.seen(1, 1, 1, 12.0)[1]
    assert not progress.seen(1, 1, 1, 23.0)[1]


def test_advice() -> None:
    assert "relay_drain_to=RELAY" in what_to_do("relay1", 0, 0)
    assert "release" not in what_to_do("relay1", 0, 0)
    assert "`relay-agent queue release`" in what_to_do("relay1", 3, 0)
    assert "cut off" in what_to_do("relay1", 0, 7)
