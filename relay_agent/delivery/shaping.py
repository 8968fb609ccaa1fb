# SPDX-License-Identifier: GPL-3.0-or-later
"""What the hosts of a destination can take: connections at once, messages a minute, and when again after trouble.

Ways to the same hosts share all this, also when they ask for different TLS: the hosts feel the load, whichever domain
it is for.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING

from relay_agent.config.schema import Config
from relay_agent.delivery.outcome import Deferred
from relay_agent.delivery.patterns import in_domains
from relay_agent.delivery.route import Way
from relay_agent.observability import measured

if TYPE_CHECKING:
    from relay_agent.delivery.destination import Destination

__all__ = ["Limit", "Pause", "Peer", "Shaper", "Standing", "is_about_tls", "pause_for"]

_FIRST_WINDOW = 2  # connections at once to hosts that have yet to prove themselves
_AHEAD = 5.0  # seconds by which a destination with a rate may be ahead of it, so that a few letters need not wait
_SETTLED = 1.0  # seconds that hosts have to prove themselves before they count as slow
_TLS_STATUS = ("4.7.4", "4.7.5")  # our own demands of TLS: another way to the same hosts may ask for less
_SHORTEST_PAUSE, _LONGEST_PAUSE = 30.0, 900.0  # seconds
_REMEMBERED = 3600.0  # seconds after a pause for which hosts that took nothing stay suspect


class Standing(IntEnum):
    """What is known of hosts."""

    PROVEN = 0  # the last one spoken to spoke to the end
    UNTRIED = 1
    SUSPECT = 2  # none of them took anything the last time


@dataclass(slots=True, frozen=True)
class Limit:
    """connections: at once. rate: messages a second, 0 for no limit."""

    connections: int
    rate: float = 0.0


@dataclass(slots=True)
class Pause:
    """Why nothing is tried, until when (monotonic clock), and how many times in a row that was so."""

    trouble: Deferred | None = None
    until: float = 0.0
    failures: int = 0

    def begin(self, trouble: Deferred, seconds: float) -> None:
        """Try nothing for so long."""
        self.trouble, self.until = trouble, time.monotonic() + seconds
        self.failures += 1

    def end(self) -> None:
        """Forget it."""
        self.trouble, self.until, self.failures = None, 0.0, 0

    @property
    def left(self) -> float:
        """Seconds; 0 when there is no pause."""
        return max(self.until - time.monotonic(), 0.0) if self.trouble is not None else 0.0


@dataclass(slots=True, eq=False)
class Peer:
    """The hosts of one or more ways."""

    limit: Limit
    active: int = 0  # workers
    window: int = _FIRST_WINDOW  # workers that it may have; grows on success, shrinks on trouble
    standing: Standing = Standing.UNTRIED
    pause: Pause = field(default_factory=Pause)
    line: deque[Destination] = field(default_factory=deque)  # destinations that wait for a worker of another to end
    waiting: int = 0  # jobs not begun, of all its destinations
    wanted_since: float = 0.0  # when the first job came (monotonic clock)
    _eager: bool = True  # no trouble yet: a connection more with each success
    _successes: int = 0
    _free_at: float = 0.0  # when the rate has room for the next message (monotonic clock)

    @property
    def most(self) -> int:
        """Connections that it may have now."""
        return min(self.window, self.limit.connections)

    @property
    def doubtful(self) -> bool:
        """Whether it took nothing lately, or has had its time to prove itself."""
        if self.standing is Standing.UNTRIED:
            return bool(self.wanted_since) and time.monotonic() - self.wanted_since > _SETTLED
        return self.standing is Standing.SUSPECT

    @property
    def rate_wait(self) -> float:
        """Seconds until its rate allows another message."""
        if not self.limit.rate:
            return 0.0
        return max(self._free_at - max(_AHEAD, 1 / self.limit.rate) - time.monotonic(), 0.0)

    def sends(self) -> None:
        """A message goes; it counts against the rate (a leaky bucket, ITU-T I.371)."""
        if self.limit.rate:
            # The first `_AHEAD` seconds' worth goes at once, and never less than one message.
            self._free_at = max(self._free_at, time.monotonic()) + 1 / self.limit.rate

    def grows(self) -> None:
        """A message was taken: more connections next time, one by one once there was trouble."""
        self._successes += 1
        if self._eager or self._successes >= self.window:
            self._successes = 0
            self.window = min(self.window + 1, self.limit.connections)

    def shrinks(self, window: int) -> None:
        """The hosts want fewer connections."""
        self._eager = False
        self._successes = 0
        self.window = max(1, min(window, self.window))

    def worked(self) -> None:
        """A host spoke to us to the end, whatever it said."""
        self.standing = Standing.PROVEN
        self.pause.end()

    def failed(self, trouble: Deferred, seconds: float) -> None:
        """No host took anything."""
        self.standing = Standing.SUSPECT
        self.shrinks(1)
        self.pause.begin(trouble, seconds)
        measured.PAUSES.add()

    @property
    def forgettable(self) -> bool:
        """Whether nothing is lost when this object goes."""
        lately = self.pause.failures and time.monotonic() - self.pause.until < _REMEMBERED
        return not (self.active or self.waiting or self.pause.left or self.rate_wait or lately)


class Shaper:
    """The peer of each way, with the limits that `[[shaping]]` and `[delivery]` give it."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._peers: dict[frozenset[tuple[str, int]], Peer] = {}

    @property
    def peers(self) -> list[Peer]:
        """All of them."""
        return list(self._peers.values())

    def peer(self, way: Way) -> Peer:
        """Who is at the end of this way."""
        key = _hosts(way)
        found = self._peers.get(key)
        if found is None:
            found = self._peers[key] = Peer(self._limit(key))
        return found

    def reconfigure(self, config: Config) -> None:
        """Hold everybody to the limits of another configuration."""
        self._config = config
        for key, peer in self._peers.items():
            peer.limit = self._limit(key)

    def clear(self) -> None:
        """Forget all."""
        self._peers.clear()

    def tidy(self, kept: Callable[[Peer], bool]) -> None:
        """Let go of what nobody needs and is not `kept`. What hosts proved is forgotten with them."""
        for key in [key for key, peer in self._peers.items() if peer.forgettable and not kept(peer)]:
            del self._peers[key]

    def _limit(self, hosts: frozenset[tuple[str, int]]) -> Limit:
        most, rate = self._config.delivery.max_connections_per_destination, 0.0
        for rule in self._config.shaping:
            if any(in_domains(rule.destinations, host) for host, _ in hosts):
                return Limit(rule.connections or most, (rule.messages_per_minute or rate) / 60)
        return Limit(most, rate)


def _hosts(way: Way) -> frozenset[tuple[str, int]]:
    return frozenset((target.host.lower(), target.port) for _, target in way.choices)


def pause_for(failures: int, first: float, longest: float) -> float:
    """Seconds to leave hosts alone that took nothing, `failures` times before this one.

    first, longest: the waits between attempts. The pause stays shorter than these, so that attempts find the hosts
    open to be tried, and grows with them.
    """
    wait = min(_SHORTEST_PAUSE, first / 2) * 2.0 ** min(failures, 20)
    return max(min(wait, longest / 2, _LONGEST_PAUSE), min(_SHORTEST_PAUSE, first / 2, longest / 2))


def is_about_tls(trouble: Deferred) -> bool:
    """Whether it is this way's own demand that was not met."""
    return trouble.status in _TLS_STATUS
