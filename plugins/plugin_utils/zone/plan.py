# SPDX-License-Identifier: GPL-3.0-or-later
"""What a name server has, next to what it should have: the changes that are ours to make, and what is to be told.

Ours is what the inventory wants, and what an earlier run has put in (`published`). Anything else is somebody else's: it
is never removed, and named when it is in the way.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ansible_collections.postroad.relay.plugins.plugin_utils.zone.records import Record
from ansible_collections.postroad.relay.plugins.plugin_utils.zone.spf import SpfError, merged_spf
from ansible_collections.postroad.relay.plugins.plugin_utils.zone.values import plain_text, text_value

__all__ = ["Judged", "Published", "judge", "leftovers"]

Published = Mapping[tuple[str, str], frozenset[str]]
"""By owner and type the values that earlier runs have put in."""


@dataclass(frozen=True)
class Judged:
    """One record, compared. state: `good`, `missing`, `wrong`, or `foreign` when only other values are in the way.

    add, remove: what a run of ours would do. unwanted: values that are to go by the operator's own hand. in_the_way:
    type and value of what has to go by hand before the record can be there at all. says: what is wrong, in words; ""
    when it is good.
    """

    record: Record
    state: str
    add: frozenset[str] = frozenset()
    remove: frozenset[str] = frozenset()
    unwanted: frozenset[str] = frozenset()
    says: str = ""
    in_the_way: frozenset[tuple[str, str]] = frozenset()


def judge(
    record: Record,
    found: frozenset[str],
    published: frozenset[str] = frozenset(),
    *,
    ttl: int = 0,
    beside: frozenset[tuple[str, str]] = frozenset(),
) -> Judged:
    """found: what there is at the record's name, of its type. published: of that, what is from us. ttl: its seconds.

    beside: type and value of what at the name leaves no room for the record (see name_server.Answer).
    """
    if record.rule == "held":
        return _held(record, found)
    if beside and record.values:
        return Judged(record, "wrong", says=_no_room(record, beside), in_the_way=beside)
    if record.beginning:
        texts = frozenset(value for value in found if _begins(value, record.beginning))
        return _policy(record, texts) if record.rule == "spf" else _default(record, texts, published)
    wanted = frozenset(record.values)
    remove = (found & published) - wanted
    unwanted = found - wanted - published
    if record.rule == "any":
        return _any(record, found, remove, unwanted, ttl)
    lacking = wanted - found
    if record.kind == "CNAME" and unwanted:
        # A name has one alias: adding ours would replace it.
        says = f"leads elsewhere: {_list(unwanted)}"
        return Judged(record, "wrong", frozenset(), remove, unwanted, says)
    if lacking:
        state = "wrong" if (remove or unwanted) else "missing"
        says = f"there is {_list(found)} instead" if state == "wrong" and not wanted & found else "is not there"
        if wanted & found:
            says = f"lacks {_list(lacking)}"
        return Judged(record, state, lacking, remove, unwanted, says)
    if unwanted or remove:
        says = f"also has {_list(unwanted | remove)}"
        return Judged(record, "foreign" if wanted else "good", frozenset(), remove, unwanted, says)
    return Judged(record, "good")


def _held(record: Record, found: frozenset[str]) -> Judged:
    """Marks by relays: without meaning when there is no such relay, and to be told when it takes mail."""
    names = {value: plain_text(value).rstrip(".").lower() for value in found}
    members = {plain_text(value) for value in record.members}
    drained = {plain_text(value) for value in record.values}
    gone = frozenset(value for value, name in names.items() if name not in members)
    serving = frozenset(value for value, name in names.items() if name in members - drained)
    says = []
    if serving:
        says.append(
            f"holds {_list(names[value] for value in serving)} out of the address list, though not drained: "
            "`relay-agent failover join` there ends it"
        )
    if gone:
        says.append(f"names what is no relay any more: {_list(names[value] for value in gone)}")
    return Judged(record, "wrong" if says else "good", remove=gone, unwanted=serving, says="; ".join(says))


def _no_room(record: Record, beside: frozenset[tuple[str, str]]) -> str:
    there = _list(f"{kind} {value}" for kind, value in beside)
    if record.kind == "CNAME":
        return f"an alias cannot be beside anything else (RFC 1034 3.6.2), and there is {there}: take that out first"
    return f"the name is an alias, {there}, beside which nothing can be (RFC 1034 3.6.2): take that out first"


def _any(record: Record, found: frozenset[str], remove: frozenset[str], unwanted: frozenset[str], ttl: int) -> Judged:
    wanted = frozenset(record.values)
    if not found & wanted:
        says = f"there is {_list(found)} instead" if found else "is not there"
        return Judged(record, "wrong" if found else "missing", wanted, remove, unwanted, says)
    if ttl > record.ttl:
        # The same records again: a server takes the TTL of what is added for all of them (RFC 2181 5.2).
        again = found & wanted
        says = f"is remembered for {ttl} s, and with it a relay that is gone (expected {record.ttl} s at most)"
        return Judged(record, "wrong", again, again | remove, unwanted, says)
    if unwanted or remove:
        return Judged(record, "foreign", frozenset(), remove, unwanted, f"also has {_list(unwanted | remove)}")
    out = wanted - found
    return Judged(record, "good", says=f"{_list(out)} is out of the list now" if out else "")


def _policy(record: Record, found: frozenset[str]) -> Judged:
    if not found:
        return Judged(record, "missing", frozenset(record.values), says="is not there")
    if len(found) > 1:
        says = f"there are {len(found)} policies, and receivers ignore them all: put them into one (RFC 7208 4.5)"
        return Judged(record, "wrong", says=says)
    (value,) = found
    try:
        merged = merged_spf(plain_text(value), record.mechanisms)
    except SpfError as error:
        return Judged(record, "wrong", says=f"{value} has to be changed by hand: {error}")
    if merged == plain_text(value):
        return Judged(record, "good")
    lacking = [each for each in record.mechanisms if each not in plain_text(value).split()]
    changed = frozenset({text_value(merged)})
    return Judged(record, "wrong", changed, frozenset({value}), says=f"lacks {' '.join(lacking)}")


def _default(record: Record, found: frozenset[str], published: frozenset[str]) -> Judged:
    wanted = frozenset(record.values)
    if not found:
        return Judged(record, "missing", wanted, says="is not there")
    if len(found) > 1:
        remove = (found & published) - wanted
        says = f"there are {len(found)} of them, and receivers ignore them all: leave one"
        return Judged(record, "wrong", remove=remove, unwanted=found - wanted - published, says=says)
    ours = (found & published) - wanted
    if ours:
        return Judged(record, "wrong", wanted, ours, says="is what an earlier run had put in")
    return Judged(record, "good")


def leftovers(records: Iterable[Record], published: Published) -> list[Record]:
    """Records without a value for what earlier runs have put in at names that are not wanted any more."""
    wanted = {(record.owner, record.kind) for record in records}
    return [
        Record(owner, kind, (), "not wanted any more", 0)
        for owner, kind in sorted(published)
        if (owner, kind) not in wanted
    ]


def _begins(value: str, beginning: str) -> bool:
    """Whether a text is of the kind: a version is followed by a space, a semicolon or nothing."""
    text = plain_text(value).strip().lower()
    rest = text.removeprefix(beginning.lower())
    return text.startswith(beginning.lower()) and (not rest or rest[0] in " ;")


def _list(values: Iterable[str]) -> str:
    return ", ".join(sorted(values)) or "nothing"
