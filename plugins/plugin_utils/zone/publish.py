# SPDX-License-Identifier: GPL-3.0-or-later
"""The fleet's records at a name server that takes updates: what is changed there, and whether it was done.

A server may say that all is well and have ignored a part of an update: an alias beside other data, or other data beside
an alias (RFC 2136 3.4.2.2). So what was sent is read back, and only what is there counts as published.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from ansible_collections.postroad.relay.plugins.plugin_utils import agent_package  # noqa: F401  finds relay_agent
from ansible_collections.postroad.relay.plugins.plugin_utils.zone.plan import Judged, Published, judge
from ansible_collections.postroad.relay.plugins.plugin_utils.zone.records import Record

from relay_agent.name_server import Answer, Change, NameServer, NameServerError

__all__ = ["Publisher", "difference"]

_MOST_IN_A_MESSAGE = 40
_SHOWN_WITHIN = 5.0  # seconds; a server that signs a zone by itself may serve it a moment later
_PAUSE = 0.5


class _Step(NamedTuple):
    """A record that is compared, and what there was."""

    judged: Judged
    found: Answer


class Publisher:
    """published: what earlier runs have put in. wanted: all records of the fleet, to know what of that is to go.

    ours: what is from here, as it is after each zone. told: for the operator to know. refused: what the server did not
    do, in words. diffs: the changes that were, or in check mode would be, made.
    """

    def __init__(
        self,
        server: NameServer,
        published: Published,
        wanted: Iterable[Record],
        *,
        check_mode: bool,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._server = server
        self._published = published
        self._check_mode = check_mode
        self._sleep = sleep
        wanted_values = {(record.owner, record.kind, value) for record in wanted for value in record.values}
        self._going = {
            (owner, kind, value)
            for (owner, kind), values in published.items()
            for value in values
            if (owner, kind, value) not in wanted_values
        }
        self.ours = dict(published)
        self.diffs: list[dict[str, str]] = []
        self.told: list[str] = []
        self.refused: list[str] = []

    def publish(self, zone: str, records: Sequence[Record]) -> None:
        """Bring a zone's records to what is wanted. Raises NameServerError; `ours` has what was done until then."""
        steps = [self._compared(zone, record) for record in records]
        self.told += [sentence for step in steps if (sentence := _sentence(step.judged))]
        todo = [step for step in steps if step.judged.add or step.judged.remove]
        # What only goes, goes first: it may be in the way of what comes.
        todo.sort(key=lambda step: bool(step.judged.add))
        refused: list[_Step] = []
        if todo:
            before = "".join(
                _line(step, value, step.found.ttl) for step in todo for value in sorted(step.judged.remove)
            )
            after = "".join(_line(step, value, _ttl(*step)) for step in todo for value in sorted(step.judged.add))
            self.diffs.append(difference(f"zone {zone} at {self._server.host}", before, after))
            if not self._check_mode:
                self._send(zone, todo)
                refused = self._read_back(zone, todo)
        for step in steps:
            if step not in todo:
                self._remember(step)
        for step in refused:
            self._forget(step)

    def _compared(self, zone: str, record: Record) -> _Step:
        found = self._server.survey(record.owner, record.kind, frozenset(record.values), zone=zone)
        mine = self._published.get((record.owner, record.kind), frozenset())
        beside = frozenset(each for each in found.beside if (record.owner, *each) not in self._going)
        return _Step(judge(record, found.values, mine, ttl=found.ttl, beside=beside), found)

    def _send(self, zone: str, todo: Sequence[_Step]) -> None:
        for start in range(0, len(todo), _MOST_IN_A_MESSAGE):
            sent = todo[start : start + _MOST_IN_A_MESSAGE]
            changes = [
                Change(each.record.owner, each.record.kind, each.add, each.remove, _ttl(each, found), found)
                for each, found in sent
            ]
            if not self._server.update(zone, changes):
                raise NameServerError(
                    f"{self._server.host}: somebody changed the zone {zone} at the same moment; nothing of this step "
                    "was done. Run it again."
                )
            # At once: what comes after it may fail, and then nobody would know that these are from here.
            for step in sent:
                self._remember(step)

    def _read_back(self, zone: str, todo: Sequence[_Step]) -> list[_Step]:
        """Those that the server did not do, after it had its time; each is in `refused` in words."""
        until = time.monotonic() + _SHOWN_WITHIN
        while True:
            seen = [(step, self._seen(zone, step.judged)) for step in todo]
            open_ones = [(step, answer) for step, answer in seen if not _done(step.judged, answer)]
            if not open_ones or time.monotonic() > until:
                break
            todo = [step for step, _ in open_ones]
            self._sleep(_PAUSE)
        self.refused += [_refusal(self._server.host, step.judged, answer) for step, answer in open_ones]
        return [step for step, _ in open_ones]

    def _seen(self, zone: str, judged: Judged) -> Answer:
        return self._server.survey(judged.record.owner, judged.record.kind, judged.add, zone=zone)

    def _remember(self, step: _Step) -> None:
        """After a record was brought to what is wanted: what of it is from here."""
        judged, record = step.judged, step.judged.record
        if record.rule in ("spf", "held"):
            return
        place = (record.owner, record.kind)
        there = (step.found.values - judged.remove) | judged.add
        # What was there before us and is wanted, too, is ours from now on: nobody else has a use for it.
        self.ours[place] = there & (frozenset(record.values) | self.ours.get(place, frozenset()))

    def _forget(self, step: _Step) -> None:
        """After all the server did not do it: what of the name is from here is as it was."""
        place = (step.judged.record.owner, step.judged.record.kind)
        before = self._published.get(place, frozenset())
        self.ours[place] = (self.ours.get(place, frozenset()) - step.judged.add) | before


def _done(judged: Judged, answer: Answer) -> bool:
    if judged.record.rule == "any" and judged.add:
        # The relays may have changed the list already.
        return bool(judged.add & answer.values)
    return judged.add <= answer.values and not (judged.remove - judged.add) & answer.values


def _refusal(host: str, judged: Judged, answer: Answer) -> str:
    lacking, staying = judged.add - answer.values, (judged.remove - judged.add) & answer.values
    did = [f"put in {', '.join(sorted(lacking))}"] if lacking else []
    did += [f"take out {', '.join(sorted(staying))}"] if staying else []
    there = ", ".join(f"{kind} {value}" for kind, value in sorted(answer.beside))
    why = f"there is {there}" if there else "see its log; often something of another type is at that name"
    return f"{judged.record.owner} {judged.record.kind}: {host} took the update and did not {' and '.join(did)} ({why})"


def _ttl(judged: Judged, found: Answer) -> int:
    """Seconds. A policy that is merged into another's text keeps the time that its neighbours at the name have."""
    return found.ttl if judged.record.beginning and found.values else judged.record.ttl


def _sentence(judged: Judged) -> str:
    record = judged.record
    if judged.in_the_way:
        return f"{record.owner} {record.kind} {' '.join(record.values)} is not put in: {judged.says}, then run it again"
    if record.rule == "held":
        return f"{record.owner} {record.kind} {judged.says}" if judged.unwanted else ""
    if judged.unwanted:
        hint = "; they are not from here: remove them by hand if they are yours"
        return f"{record.owner} {record.kind} {judged.says}{hint}"
    if judged.state == "wrong" and not judged.add and not judged.remove:
        return f"{record.owner} {record.kind}: {judged.says}"
    return ""


def _line(step: _Step, value: str, ttl: int) -> str:
    return f"{step.judged.record.owner} {ttl} IN {step.judged.record.kind} {value}\n"


def difference(header: str, before: str, after: str) -> dict[str, str]:
    """A change as Ansible shows it."""
    return {"before_header": header, "after_header": header, "before": before, "after": after}
