# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose turn it is: what waits stands in a lane by account and priority, and accounts take turns.

A lane is one number, the account's in its upper and the priority's in its lower bits, so that an index over it has
each account's lanes side by side, the most urgent first.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from typing import TypeVar

from relay_agent.queue.model import Envelope

__all__ = ["HIGHEST", "LOWEST", "Turns", "in_turn", "lane_of", "owner_of", "priority_of"]

LOWEST, HIGHEST = -9, 9  # RFC 6710 5.2
_BITS = 5
_OWN_NEWS = zlib.crc32(b"\0news of the relay's own")  # bounces and notices take turns with the accounts

ItemT = TypeVar("ItemT")


def priority_of(options: Mapping[str, str]) -> int:
    """The priority that stands in an envelope's options (RFC 6710), 0 when there is none."""
    try:
        return min(max(int(options.get("MT-PRIORITY", "0")), LOWEST), HIGHEST)
    except ValueError:
        return 0


def lane_of(envelope: Envelope) -> int:
    """The lane that the recipients of a message wait in."""
    owner = _OWN_NEWS if envelope.account is None else zlib.crc32(envelope.account.encode("utf-8", "replace"))
    return (owner << _BITS) | (HIGHEST - priority_of(envelope.options))


def owner_of(lane: int) -> int:
    """The account that a lane belongs to, as a number; two accounts rarely share one, and then a turn."""
    return lane >> _BITS


class Turns:
    """Which of one account's lanes comes next: the most urgent, and every eighth time the least urgent."""

    __slots__ = ("_taken",)

    def __init__(self) -> None:
        self._taken = 0

    def next(self, count: int) -> int:
        """The place of the lane among `count` (1 or more), the most urgent first."""
        self._taken += 1
        return count - 1 if self._taken % 8 == 0 else 0


def in_turn(lanes: Mapping[int, Iterator[ItemT]]) -> Iterator[ItemT]:
    """What the lanes give, one of each account after the other, until all are exhausted."""
    owners: dict[int, list[Iterator[ItemT]]] = {}
    for lane in sorted(lanes):
        owners.setdefault(owner_of(lane), []).append(lanes[lane])
    turns = {owner: Turns() for owner in owners}
    while owners:
        for owner, left in list(owners.items()):
            turn = turns[owner]
            while left:
                place = turn.next(len(left))
                for item in left[place]:
                    yield item
                    break
                else:
                    del left[place]
                    continue
                break
            if not left:
                del owners[owner]
