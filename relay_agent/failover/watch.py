# SPDX-License-Identifier: GPL-3.0-or-later
"""The watcher of one host: looks at the fleet again and again, and keeps the address list."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections.abc import Callable, Mapping

from relay_agent.failover.address_list import AddressList, Listing, kind_of
from relay_agent.failover.greeting import answers, reached
from relay_agent.failover.judgement import Judge, Rules, Verdict, View
from relay_agent.failover.settings import FailoverError, FailoverSettings, Member
from relay_agent.notify import notify
from relay_agent.observability.log import EventLog

__all__ = ["Watcher", "own_member", "rules_of", "run"]

_KINDS = ("A", "AAAA")


def own_member(settings: FailoverSettings) -> Member:
    """This host."""
    return next(each for each in settings.member if each.name.lower() == settings.own.lower())


def rules_of(settings: FailoverSettings) -> Rules:
    """How patient the judges are. A look that took much longer than it may, or did not happen, breaks the row."""
    longest = settings.interval + 4 * settings.timeout + 30
    return Rules(settings.failures, settings.successes, gap=2 * longest)


class Watcher:
    """look: whether each address greets. outside: whether a witness answers by A and AAAA. clock: monotonic seconds."""

    def __init__(
        self,
        settings: FailoverSettings,
        addresses: AddressList,
        log: EventLog,
        *,
        look: Callable[[FailoverSettings], Mapping[str, bool]] = answers,
        outside: Callable[[FailoverSettings], Mapping[str, bool]] = reached,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._addresses = addresses
        self._log = log
        self._look = look
        self._outside = outside
        self._clock = clock
        self._said: dict[str, str] = {}
        own = frozenset(map(str, own_member(settings).addresses))
        everybody = frozenset(str(address) for each in settings.member for address in each.addresses)
        self._names = {str(address): each.name for each in settings.member for address in each.addresses}
        self._judges = {
            kind: Judge(
                rules_of(settings),
                (address for address in own if kind_of(address) == kind),
                (address for address in everybody - own if kind_of(address) == kind),
            )
            for kind in _KINDS
        }

    def round(self) -> None:
        """One look, and what comes of it."""
        begun = self._clock()
        found = dict(self._look(self._settings))
        if self._clock() - begun > 4 * self._settings.timeout + 10:
            # Nobody's silence can be told from this host's own sleep.
            self._blind("a look took too long")
            return
        try:
            # After the look: what somebody changed meanwhile is known before anything is done.
            listing = self._addresses.read()
            outside = self._outside(self._settings)
        except FailoverError as error:
            self._blind(str(error))
            return
        self._say("list", "")
        held = frozenset(address for address, name in self._names.items() if name.lower() in listing.held)
        for kind, judge in self._judges.items():
            gone = self._gone(kind, outside)
            view = View(self._clock(), frozenset(listing.found[kind].values), found, held, outside[kind], gone)
            verdict = judge.look(view)
            try:
                self._act(kind, verdict, listing)
            except FailoverError as error:
                self._say(kind, str(error))

    def _gone(self, kind: str, outside: Mapping[str, bool]) -> frozenset[str]:
        """The addresses of this kind whose relays are dead by the other one, where this host is not cut off by that."""
        (other,) = set(_KINDS) - {kind}
        if not outside[other]:
            return frozenset()
        dead = self._judges[other].dead()
        there = [address for address in self._names if kind_of(address) == other]
        names = {self._names[address] for address in there} - {self._names[a] for a in there if a not in dead}
        return frozenset(address for address, name in self._names.items() if kind_of(address) == kind and name in names)

    def _blind(self, because: str) -> None:
        self._say("list", because)
        for judge in self._judges.values():
            judge.blind()

    def _act(self, kind: str, verdict: Verdict, listing: Listing) -> None:
        if not verdict.action:
            self._say(kind, verdict.because)
            return
        change = self._addresses.withdraw if verdict.action == "withdraw" else self._addresses.restore
        done = change(listing, verdict.address)
        if done:
            self._judges[kind].done(verdict, self._clock())
        self._said.pop(kind, None)
        self._log.event(
            f"failover_{verdict.action}" if done else "failover_overtaken",
            level="warning" if done else "info",
            relay=self._names[verdict.address],
            address=verdict.address,
            reason=verdict.because if done else "the list has changed meanwhile; the next look will tell",
        )

    def _say(self, what: str, text: str) -> None:
        """Log what is wrong, and once that it is over."""
        if text and self._said.get(what) != text:
            self._log.event("failover_waits", level="warning", about=what, reason=text)
        elif not text and what in self._said:
            self._log.event("failover_goes_on", about=what)
        if text:
            self._said[what] = text
        else:
            self._said.pop(what, None)


def run(settings: FailoverSettings, log: EventLog) -> None:
    """Watch until SIGTERM or SIGHUP; systemd starts the release that is current then."""
    ending = threading.Event()
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, lambda *_: ending.set())
    watcher = Watcher(settings, AddressList(settings), log)
    log.event("failover_watches", service=settings.service, members=[each.name for each in settings.member])
    notify("READY=1")
    while not ending.is_set():
        begun = time.monotonic()
        watcher.round()
        # Not all of the fleet at the same moment.
        pause = settings.interval * random.uniform(0.9, 1.1) - (time.monotonic() - begun)  # noqa: S311
        ending.wait(max(0.2, pause))
