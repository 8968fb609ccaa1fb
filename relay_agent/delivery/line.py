# SPDX-License-Identifier: GPL-3.0-or-later
"""A line in which accounts take turns: deficit round robin (Shreedhar and Varghese, 1996) over their lanes."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from relay_agent.queue.lanes import Turns, owner_of

__all__ = ["FairLine"]

ItemT = TypeVar("ItemT")


class _Account(Generic[ItemT]):
    """What waits for one account, and what it may still send in this round."""

    __slots__ = ("credit", "lanes", "turns")

    def __init__(self) -> None:
        self.lanes: dict[int, deque[tuple[ItemT, float]]] = {}
        self.credit = 0.0
        self.turns = Turns()

    def pick(self) -> int:
        """The lane whose turn it is."""
        if len(self.lanes) == 1:
            return next(iter(self.lanes))
        lanes = sorted(self.lanes)
        return lanes[self.turns.next(len(lanes))]


class FairLine(Generic[ItemT]):
    """Items by lane (see `relay_agent.queue.lanes`). An item's cost is about 1 for an ordinary letter; an account
    gets 1 a round, so that many large messages of one account are not many turns of another's."""

    __slots__ = ("_accounts", "_count")

    def __init__(self) -> None:
        self._accounts: OrderedDict[int, _Account[ItemT]] = OrderedDict()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[ItemT]:
        for account in self._accounts.values():
            for lane in account.lanes.values():
                for item, _ in lane:
                    yield item

    @property
    def next_lane(self) -> int:
        """A lane in which something waits; the line must not be empty."""
        return self._accounts[next(iter(self._accounts))].pick()

    def waiting_for(self, lane: int) -> int:
        """How much waits for the account of this lane."""
        account = self._accounts.get(owner_of(lane))
        return sum(map(len, account.lanes.values())) if account is not None else 0

    def add(self, item: ItemT, lane: int, cost: float = 1.0) -> None:
        """Put an item at the end of its lane."""
        account = self._accounts.setdefault(owner_of(lane), _Account())
        account.lanes.setdefault(lane, deque()).append((item, cost))
        self._count += 1

    def put_back(self, item: ItemT, lane: int, cost: float = 1.0) -> None:
        """Let an item that was taken be the next one again."""
        owner = owner_of(lane)
        account = self._accounts.setdefault(owner, _Account())
        account.lanes.setdefault(lane, deque()).appendleft((item, cost))
        account.credit += cost
        self._accounts.move_to_end(owner, last=False)
        self._count += 1

    def take(self) -> ItemT | None:
        """The item whose turn it is; None when nothing waits."""
        while self._accounts:
            owner, account = next(iter(self._accounts.items()))
            key = account.pick()
            lane = account.lanes[key]
            item, cost = lane[0]
            if account.credit < cost and len(self._accounts) > 1:
                account.credit += 1.0
                self._accounts.move_to_end(owner)
                continue
            account.credit = max(account.credit - cost, 0.0)
            lane.popleft()
            self._count -= 1
            if not lane:
                del account.lanes[key]
                if not account.lanes:
                    del self._accounts[owner]
            return item
        return None

    def take_all(self) -> list[ItemT]:
        """Everything that waits."""
        items = list(self)
        self._accounts.clear()
        self._count = 0
        return items

    def drop(self, unwanted: Callable[[ItemT], bool]) -> list[ItemT]:
        """Take the unwanted items out of the line."""
        dropped = [item for item in self if unwanted(item)]
        if not dropped:
            return []
        for owner, account in list(self._accounts.items()):
            for key, lane in list(account.lanes.items()):
                kept = deque(each for each in lane if not unwanted(each[0]))
                if kept:
                    account.lanes[key] = kept
                else:
                    del account.lanes[key]
            if not account.lanes:
                del self._accounts[owner]
        self._count -= len(dropped)
        return dropped
