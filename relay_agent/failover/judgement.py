# SPDX-License-Identifier: GPL-3.0-or-later
"""Which address leaves the list and which comes back: the judgement of one watcher, without any I/O.

Each address family has a judge of its own: a relay whose IPv6 alone is broken leaves the AAAA records alone. At most
one change comes of a look, and each is made under the condition that the list is still as it was seen, so that several
watchers who see the same thing do it once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

__all__ = ["Judge", "Rules", "Verdict", "View"]

_MOST_DOUBLINGS = 6


@dataclass(frozen=True, slots=True)
class Rules:
    """failures, successes: looks in a row. gap: seconds between two looks, after which counting begins anew.

    overruled: seconds that an address is left alone which others have put back. memory: seconds that a withdrawal
    counts for how long the next return takes.
    """

    failures: int = 3
    successes: int = 2
    gap: float = 60.0
    overruled: float = 900.0
    memory: float = 3600.0


@dataclass(frozen=True, slots=True)
class View:
    """One look. now: monotonic seconds. listed: the addresses in the list. held: those of relays that are drained.

    answers: of each address of the fleet, this host's among them, whether it greeted. outside: whether something that
    is no relay of the fleet answered by this address family. gone: addresses of relays that are dead by the other one.
    """

    now: float
    listed: frozenset[str]
    answers: Mapping[str, bool]
    held: frozenset[str] = frozenset()
    outside: bool = True
    gone: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Verdict:
    """action: `withdraw`, `restore`, or "" for nothing. because: in words, also why nothing is done, or ""."""

    action: str = ""
    address: str = ""
    because: str = ""


@dataclass(slots=True)
class _Record:
    """What is known of one address. up, down: looks in a row."""

    up: int = 0
    down: int = 0
    withdrawn: list[float] = field(default_factory=list)
    quiet_until: float = float("-inf")
    overruled: int = 0


class Judge:
    """own: this host's addresses; siblings: those of the others; all of one family."""

    def __init__(self, rules: Rules, own: Iterable[str], siblings: Iterable[str]) -> None:
        self._rules = rules
        self._own = frozenset(own)
        self._siblings = frozenset(siblings)
        self._records = {address: _Record() for address in self._own | self._siblings}
        self._last: float | None = None
        self._listed: frozenset[str] = frozenset()

    def blind(self) -> None:
        """A look that came to nothing: nothing that was counted before is in a row with what comes."""
        self._last = None
        for record in self._records.values():
            record.up = record.down = 0

    def dead(self) -> frozenset[str]:
        """The addresses that have missed so many looks in a row that they would be withdrawn."""
        return frozenset(address for address, record in self._records.items() if record.down >= self._rules.failures)

    def look(self, view: View) -> Verdict:
        """Take in one look, and say what is to be done; `done` has to hear of it when it was."""
        self._count(view)
        found = [verdict for verdict in (self._held(view), self._withdraw(view), self._restore(view)) if verdict]
        return next((verdict for verdict in found if verdict.action), found[0] if found else Verdict())

    def done(self, verdict: Verdict, now: float) -> None:
        """What was to be done has been. Others may undo it before the next look, which is then to be noticed."""
        if verdict.action == "withdraw":
            self._listed -= {verdict.address}
            self._records[verdict.address].withdrawn.append(now)
        else:
            self._listed |= {verdict.address}

    def _count(self, view: View) -> None:
        rules = self._rules
        if self._last is not None and not 0 <= view.now - self._last <= rules.gap:
            # The host slept, or its clock jumped: what was seen before says nothing about now.
            self.blind()
        began_anew = self._last is None
        self._last = view.now
        for address, record in self._records.items():
            if view.answers.get(address, False):
                record.up, record.down = record.up + 1, 0
                if record.up >= rules.successes:
                    record.overruled, record.quiet_until = 0, float("-inf")
            else:
                record.up, record.down = 0, record.down + 1
            record.withdrawn = [when for when in record.withdrawn if view.now - when < rules.memory]
            if began_anew:
                continue
            if address in self._listed and address not in view.listed and address not in view.held:
                record.withdrawn.append(view.now)
            if address in view.listed and address not in self._listed and record.down >= rules.failures:
                # Somebody sees it alive: the way from here to there is broken, not the relay.
                wait = rules.overruled * 2 ** min(record.overruled, _MOST_DOUBLINGS)
                record.overruled, record.quiet_until = record.overruled + 1, view.now + wait
        self._listed = view.listed

    def _held(self, view: View) -> Verdict | None:
        for address in sorted(view.listed & view.held & set(self._records)):
            if self._alive(view, without=address):
                return Verdict("withdraw", address, "it is drained")
        return None

    def _withdraw(self, view: View) -> Verdict | None:
        rules = self._rules
        listed = view.listed & self._siblings - view.held
        failing = {address for address in listed if self._records[address].down}
        dead = sorted(
            address
            for address in view.listed & set(self._records)
            if self._records[address].down >= rules.failures and address not in view.held
        )
        for address in dead:
            record = self._records[address]
            missed = f"it missed {record.down} looks in a row"
            if view.now < record.quiet_until:
                note = Verdict(because=f"{address} does not answer here, but others put it back: left alone for now")
            elif not self._alive(view, without=address):
                note = Verdict(because=f"{address} does not answer, but no other in the list does: it stays")
            elif address in self._own:
                return Verdict("withdraw", address, f"this host's own port does not answer: {missed}")
            elif len(listed) > 1 and 2 * len(failing) > len(listed):
                note = Verdict(because=f"{len(failing)} of {len(listed)} others do not answer: it may be this host")
            elif len(listed) == 1 and address not in view.gone and not self._in_touch(view):
                note = Verdict(because="nobody else answers either: it may be this host that is cut off")
            else:
                return Verdict("withdraw", address, missed)
        return note if dead else None

    def _restore(self, view: View) -> Verdict | None:
        for address in sorted(self._siblings - view.listed - view.held):
            record = self._records[address]
            if record.up >= self._needed(record):
                return Verdict("restore", address, f"it answered {record.up} looks in a row")
        for address in sorted(self._own - view.listed - view.held):
            record = self._records[address]
            # What a host says of itself is no proof that others reach it. So only when nobody else is left to say it.
            others = view.listed & self._siblings
            alone = all(self._records[other].down >= self._rules.failures for other in others)
            known = self._in_touch(view) or (others and others <= view.gone)
            if alone and known and record.up >= self._needed(record):
                return Verdict("restore", address, "this host answers, and no other in the list does")
        return None

    def _needed(self, record: _Record) -> int:
        """Looks in a row: twice as many after each withdrawal of late, so that what flaps comes back ever later."""
        again = max(0, len(record.withdrawn) - 1)
        return int(self._rules.successes * 2 ** min(again, _MOST_DOUBLINGS))

    def _alive(self, view: View, *, without: str) -> bool:
        """Whether the list has another address of the fleet that answers."""
        return any(
            view.answers.get(address, False) for address in view.listed & set(self._records) - view.held - {without}
        )

    def _in_touch(self, view: View) -> bool:
        """Whether this host is known not to be the one that is cut off."""
        return view.outside or any(view.answers.get(address, False) for address in self._siblings)
