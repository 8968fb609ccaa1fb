# SPDX-License-Identifier: GPL-3.0-or-later
"""Counting sessions for TLS reports (RFC 8460): by day, recipients' domain and policy, in memory and on the disk.

All workers append to one file a day, a line for what each has counted since its last. Whoever sends the reports locks
the directory, and reads the file of a day that is over.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from relay_agent.delivery.reply import printable
from relay_agent.delivery.tls.policy import ResultType

__all__ = ["Applied", "Count", "DayFiles", "Failure", "Tally", "today"]

_MOST_POLICIES = 20_000  # counted between two writes
_MOST_FAILURES = 100  # kinds of failures told apart for one policy
_DAYS_KEPT = 3
_ENDINGS = (".counts", ".done")


def today(now: float) -> str:
    """The day in UTC, as ``2026-11-24``; now: seconds since the epoch."""
    return dt.datetime.fromtimestamp(now, dt.UTC).strftime("%Y-%m-%d")


@dataclass(slots=True, frozen=True)
class Applied:
    """The policy that a session was held to (RFC 8460 4.2): kind is ``tlsa``, ``sts`` or ``no-policy-found``."""

    domain: str
    kind: str
    lines: tuple[str, ...] = ()
    mx: tuple[str, ...] = ()


@dataclass(slots=True, frozen=True)
class Failure:
    """One kind of failed session (RFC 8460 4.3)."""

    result: ResultType
    text: str
    host: str = ""
    own_address: str = ""
    address: str = ""


@dataclass(slots=True)
class Count:
    """Sessions under one policy."""

    good: int = 0
    failures: Counter[Failure] = field(default_factory=Counter)

    def add(self, other: Count) -> None:
        """Take the other's sessions along. Kinds of failures beyond the limit count as one."""
        self.good += other.good
        for failure, number in other.failures.items():
            self.fail(failure, number)

    def fail(self, failure: Failure, number: int = 1) -> None:
        """Count failed sessions."""
        if failure not in self.failures and len(self.failures) >= _MOST_FAILURES:
            failure = Failure(ResultType.FAILURE, "further kinds of failures")
        self.failures[failure] += number


class Tally:
    """What one worker has counted and not yet written."""

    def __init__(self) -> None:
        self._days: dict[str, dict[Applied, Count]] = {}
        self._policies = 0

    def note(self, applied: Applied, failure: Failure | None, now: float) -> None:
        """Count a session; failure: None when it was as the policy asks. now: seconds since the epoch."""
        counts = self._days.setdefault(today(now), {})
        count = counts.get(applied)
        if count is None:
            if self._policies >= _MOST_POLICIES:
                return  # rather no report than no memory
            self._policies += 1
            count = counts[applied] = Count()
        if failure is None:
            count.good += 1
        else:
            count.fail(failure)

    def take(self) -> dict[str, dict[Applied, Count]]:
        """All that was counted, by day; it is then counted here no more."""
        days, self._days, self._policies = self._days, {}, 0
        return days


class DayFiles:
    """The counts on the disk. Everything blocks; OSError where the disk refuses."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def append(self, days: dict[str, dict[Applied, Count]]) -> None:
        """Add to the files of these days."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for day, counts in days.items():
            text = "".join(f"{_line(applied, count)}\n" for applied, count in counts.items()).encode()
            file = os.open(
                self._directory / f"{day}.counts", os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600
            )
            try:
                os.write(file, text)  # at once: the lines of several workers do not mix
            finally:
                os.close(file)

    def over(self, now: float) -> list[str]:
        """The days with counts that are over, oldest first."""
        try:
            names = [path.name for path in self._directory.iterdir()]
        except OSError:
            return []
        days = (name.removesuffix(".counts") for name in names if name.endswith(".counts"))
        return sorted(day for day in days if day < today(now))

    def read(self, day: str) -> dict[Applied, Count]:
        """The sum of a day. A line that is torn or damaged is passed over."""
        counts: dict[Applied, Count] = {}
        with contextlib.suppress(FileNotFoundError), (self._directory / f"{day}.counts").open("rb") as file:
            for line in file:
                try:
                    applied, count = _parsed(line)
                except (ValueError, KeyError, TypeError, IndexError):
                    continue
                counts.setdefault(applied, Count()).add(count)
        return counts

    def done(self, day: str) -> set[str]:
        """What was noted by `note_done` for this day."""
        try:
            return set((self._directory / f"{day}.done").read_text("utf-8").splitlines())
        except OSError:
            return set()

    def note_done(self, day: str, what: str) -> None:
        """Remember that a report of this day has gone out, so that a restart does not send it again."""
        with (self._directory / f"{day}.done").open("a", encoding="utf-8") as file:
            file.write(f"{what}\n")

    def remove(self, day: str) -> None:
        """Forget a day."""
        for ending in _ENDINGS:
            with contextlib.suppress(OSError):
                (self._directory / f"{day}{ending}").unlink()

    def too_old(self, day: str, now: float) -> bool:
        """Whether nobody waits for the report of this day any more."""
        return day < today(now - _DAYS_KEPT * 86_400)

    @contextlib.contextmanager
    def lock(self) -> Iterator[bool]:
        """Whether reports may be sent from here: nobody else does as long as this lasts."""
        try:
            file = os.open(self._directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            yield False
            return
        try:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True
        finally:
            os.close(file)


def _line(applied: Applied, count: Count) -> str:
    failures = [
        [each.result, each.text, each.host, each.own_address, each.address, number]
        for each, number in count.failures.items()
    ]
    return json.dumps([applied.domain, applied.kind, applied.lines, applied.mx, count.good, failures])


def _parsed(line: bytes) -> tuple[Applied, Count]:
    domain, kind, lines, mx, good, failures = json.loads(line)
    count = Count(int(good))
    for result, text, host, own_address, address, number in failures:
        count.fail(Failure(ResultType(result), printable(text, 300), host, own_address, address), int(number))
    return Applied(str(domain), str(kind), tuple(map(str, lines)), tuple(map(str, mx))), count
