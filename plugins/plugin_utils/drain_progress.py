# SPDX-License-Identifier: GPL-3.0-or-later
"""What an operator is told while a host's mail leaves, and when waiting makes no sense any more."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["Progress", "what_to_do"]

_SAY_EVERY = 10.0  # seconds without a change worth a line


@dataclass
class Progress:
    """patience: seconds to wait in all."""

    host: str
    patience: float
    _began: float | None = field(default=None, init=False)
    _first: int = field(default=0, init=False)
    _only_held: float | None = field(default=None, init=False)  # since when
    _told: tuple[float, int] = field(default=(0.0, -1), init=False)

    def seen(self, messages: int, recipients: int, held: int, now: float) -> tuple[str, bool]:
        """A line for the operator, "" for none, and whether to go on waiting. `now` is of a clock that never goes back.

        Waiting ends when all `recipients` that are left have been held for a while: those do not leave by themselves.
        """
        if self._began is None:
            self._began, self._first = now, messages
        gone, passed = self._first - messages, now - self._began
        if not held or held < recipients:
            self._only_held = None
        elif self._only_held is None:
            self._only_held = now
        more = passed < self.patience and (self._only_held is None or now - self._only_held <= _SAY_EVERY)
        told_at, told = self._told
        if messages == told and now - told_at < _SAY_EVERY and more:
            return "", more
        self._told = (now, messages)
        rate = gone / passed if passed > 0 and gone > 0 else 0.0
        ahead = f", about {messages / rate:.0f} s more" if rate else ""
        aside = f", {held:,} recipients held" if held else ""
        return f"{self.host}: {messages:,} messages wait{aside}, {gone:,} left in {passed:.0f} s{ahead}", more


def what_to_do(host: str, held: int, leaving: int) -> str:
    """Advice for a host that still has mail."""
    if leaving:
        return "A hand-over was cut off: run drain.yml with the same relay_drain_to again, which ends it."
    advice = (
        f"It is drained and goes on delivering: run drain.yml again later, or hand its mail to another relay with "
        f"-e relay_drain_to=RELAY. `relay-agent queue list` on {host} says where it waits and why."
    )
    if held:
        advice += " What is held does not leave by itself: `relay-agent queue release`, `bounce` or `delete`."
    return advice
