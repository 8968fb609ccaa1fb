# SPDX-License-Identifier: GPL-3.0-or-later
"""Which step of a rotation of signing keys comes next, from what all relays of a domain have and DNS says of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

__all__ = ["Plan", "RotationError", "RotationWish", "plan_rotation"]

KINDS = {"both": ("rsa", "ed25519"), "rsa": ("rsa",), "ed25519": ("ed25519",)}


class RotationError(Exception):
    """The relays' keys are in a state that a rotation does not mend; the text says which, and what to do."""


@dataclass(frozen=True, kw_only=True)
class RotationWish:
    """The operator's variables. keep_days None: for as long as the agent holds that mail may be on its way."""

    domain: str
    selector: str = ""
    algorithm: str = "both"
    after_days: float = 30.0
    keep_days: float | None = None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The next step for all relays: "make" new keys on `holder`, "share" those of `holder`, "wait" for DNS, "activate",
    "keep" what is retired, "delete", or "rest".

    selector: what `relay-agent dkim new` is given. text: for the operator, with what they have to do.
    """

    step: str
    text: str
    selectors: Sequence[str] = ()
    selector: str = ""
    holder: str = ""
    force: bool = False


@dataclass(frozen=True)
class _Relay:
    name: str
    keys: Mapping[str, Mapping[str, Any]]
    published: Sequence[Mapping[str, Any]]

    def state(self, selector: str) -> str:
        return str(self.keys[selector]["state"]) if selector in self.keys else ""


def plan_rotation(found: Mapping[str, Mapping[str, Any]], wish: RotationWish, now: datetime) -> Plan:
    """found: for each relay the result of dkim_keys' `inspect`. Raises RotationError."""
    relays = [
        _Relay(name, {key["selector"]: key for key in result["found"]}, result["published"])
        for name, result in found.items()
    ]
    _check(relays, wish)
    pending = _with_state(relays, "pending")
    if pending:
        return _go_on(relays, wish, pending)
    retired = _with_state(relays, "retired")
    due = [selector for selector in retired if _is_due(relays, selector, wish, now)]
    if due:
        return _delete(relays, wish, due)
    begins = _begins(relays, wish)
    if begins <= now:
        return _make(relays, wish, now)
    if retired:
        return _keep(relays, wish, retired)
    text = f"{wish.domain}: nothing to do; the keys that sign are {', '.join(_with_state(relays, 'active'))}.\n"
    return Plan(step="rest", text=f"{text}A run after {begins:%Y-%m-%d %H:%M} UTC begins the next rotation.")


def _check(relays: Sequence[_Relay], wish: RotationWish) -> None:
    given = sorted({selector for relay in relays for selector, key in relay.keys.items() if key["given"]})
    if given:
        raise RotationError(
            f"{wish.domain}: the keys {', '.join(given)} are given by relay_agent_dkim.keys, where they are changed, "
            "too: publish the new record, then put the new key in and run site.yml (docs/dkim.md)"
        )
    for selector in sorted({selector for relay in relays for selector in relay.keys}):
        values = {relay.keys[selector]["value"] for relay in relays if selector in relay.keys}
        if len(values) > 1:
            names = ", ".join(relay.name for relay in relays if selector in relay.keys)
            raise RotationError(
                f"{wish.domain}: {selector} is another key on each of {names}; delete it on all but one of them "
                f"(relay-agent dkim delete {wish.domain} {selector} --force)"
            )


def _with_state(relays: Sequence[_Relay], state: str) -> list[str]:
    return sorted({selector for relay in relays for selector in relay.keys if relay.state(selector) == state})


def _go_on(relays: Sequence[_Relay], wish: RotationWish, pending: Sequence[str]) -> Plan:
    """Keys have been made: share them, wait for DNS, or let them sign."""
    lacking = [relay.name for relay in relays if any(selector not in relay.keys for selector in pending)]
    if lacking:
        holders = [relay.name for relay in relays if relay.name not in lacking]
        if not holders:
            raise RotationError(
                f"{wish.domain}: no relay has all of the pending keys {', '.join(pending)}; delete those of one "
                f"rotation (relay-agent dkim delete {wish.domain} SELECTOR)"
            )
        text = f"{wish.domain}: {', '.join(pending)}, pending on {holders[0]}, come to {', '.join(lacking)} as well."
        return Plan(step="share", text=text, selectors=pending, holder=holders[0])
    problems: dict[str, list[str]] = {}
    for relay in relays:
        for row in relay.published:
            if row["selector"] in pending and row["dns"] != "published":
                problems.setdefault(row["reason"] or row["dns"], []).append(relay.name)
    if problems:
        return Plan(step="wait", text=_to_publish(relays, wish, pending, problems), selectors=pending)
    text = f"{wish.domain}: DNS has {', '.join(pending)} wherever it was asked; from now on they sign."
    return Plan(step="activate", text=text, selectors=pending)


def _to_publish(
    relays: Sequence[_Relay], wish: RotationWish, pending: Sequence[str], problems: Mapping[str, Sequence[str]]
) -> str:
    known = {selector: key for relay in relays for selector, key in relay.keys.items()}
    lines = [
        f"{wish.domain}: the new keys do not sign yet. Publish their records, and leave all others in place:",
        "",
    ]
    for selector in pending:
        key = known[selector]
        lines += [
            "; in a provider's form:",
            ";   type   TXT",
            f";   name   {key['name']}",
            f";   value  {key['value']}",
        ]
        lines += [*key["zone"].splitlines(), ""]
    lines += [
        "DNS does not have them everywhere:",
        *(f"  {said} (asked by {', '.join(by)})" for said, by in problems.items()),
    ]
    lines.append("Run this playbook again when it has; until then the keys before sign.")
    return "\n".join(lines)


def _make(relays: Sequence[_Relay], wish: RotationWish, now: datetime) -> Plan:
    kinds = KINDS[wish.algorithm]
    taken = {selector for relay in relays for selector in relay.keys}
    if wish.selector:
        names = [wish.selector] if len(kinds) == 1 else [f"{wish.selector}-{kind}" for kind in kinds]
        if taken.intersection(names):
            raise RotationError(
                f"rotate_dkim_selector: {', '.join(sorted(taken.intersection(names)))} is in use already; a selector "
                "is used once"
            )
        return _made(relays, wish, wish.selector, names)
    for letter in ("", *"bcdefghijklmnopqrstuvwxyz"):
        begin = f"{now.astimezone(UTC):%Y%m%d}{letter}"
        names = [f"{begin}-{kind}" for kind in kinds]
        if not taken.intersection(names):
            return _made(relays, wish, names[0] if len(kinds) == 1 else begin, names)
    raise RotationError(f"{wish.domain}: all selectors of today are in use; name one by rotate_dkim_selector")


def _made(relays: Sequence[_Relay], wish: RotationWish, selector: str, names: Sequence[str]) -> Plan:
    holder, others = relays[0].name, [relay.name for relay in relays[1:]]
    shared = f", and shared with {', '.join(others)}" if others else ""
    text = f"{wish.domain}: new keys {', '.join(names)} are made on {holder}{shared}."
    return Plan(step="make", text=text, selectors=names, selector=selector, holder=holder)


def _begins(relays: Sequence[_Relay], wish: RotationWish) -> datetime:
    """When the next rotation begins: at once while the relays do not all sign with the same keys."""
    always = datetime.min.replace(tzinfo=UTC)
    active = [{selector for selector in relay.keys if relay.state(selector) == "active"} for relay in relays]
    if not all(active) or any(each != active[0] for each in active):
        return always
    since = [_since(relay, selector) for relay, chosen in zip(relays, active, strict=True) for selector in chosen]
    newest = max(since)
    return always if newest == always else newest + timedelta(days=wish.after_days)


def _since(relay: _Relay, selector: str) -> datetime:
    text = relay.keys[selector]["since"]
    return datetime.fromisoformat(text) if text else datetime.min.replace(tzinfo=UTC)


def _is_due(relays: Sequence[_Relay], selector: str, wish: RotationWish, now: datetime) -> bool:
    """Whether the key is retired wherever it is, and for long enough."""
    having = [relay for relay in relays if selector in relay.keys]
    if any(relay.state(selector) != "retired" for relay in having):
        return False
    if wish.keep_days is None:
        return all(relay.keys[selector]["delete_in"] == 0 for relay in having)
    return all(now - _since(relay, selector) >= timedelta(days=wish.keep_days) for relay in having)


def _delete(relays: Sequence[_Relay], wish: RotationWish, due: Sequence[str]) -> Plan:
    known = {selector: key for relay in relays for selector, key in relay.keys.items()}
    left = max((relay.keys[name]["delete_in"] or 0) for name in due for relay in relays if name in relay.keys)
    lines = [f"{wish.domain}: {', '.join(due)} are removed from the relays. Take their records out of DNS:"]
    lines += [f"  {known[selector]['name']}. TXT" for selector in due]
    if left > 0:
        lines.append(
            f"Mail that they signed may be on its way for another {left / 86400:.1f} days: rotate_dkim_keep_days"
        )
    return Plan(step="delete", text="\n".join(lines), selectors=due, force=left > 0)


def _keep(relays: Sequence[_Relay], wish: RotationWish, retired: Sequence[str]) -> Plan:
    known = {selector: key for relay in relays for selector, key in relay.keys.items()}
    lines = [
        f"{wish.domain}: {', '.join(_with_state(relays, 'active'))} sign. Leave the records of the keys before in DNS:"
    ]
    for selector in retired:
        having = [relay for relay in relays if selector in relay.keys]
        if wish.keep_days is None:
            left = max(relay.keys[selector]["delete_in"] or 0 for relay in having)
            until = f"for {left / 86400:.1f} more days"
        else:
            until = (
                f"until {max(_since(r, selector) for r in having) + timedelta(days=wish.keep_days):%Y-%m-%d %H:%M} UTC"
            )
        lines.append(f"  {known[selector]['name']}. TXT, {until}")
    gone = sorted(
        {
            f"  {row['reason'] or row['dns']}"
            for relay in relays
            for row in relay.published
            if row["selector"] in retired and row["dns"] != "published"
        }
    )
    if gone:
        lines += ["Mail that they signed can no longer be verified, put them back:", *gone]
    lines.append("Run this playbook again after that: it removes the keys and names the records to take out.")
    return Plan(step="keep", text="\n".join(lines), selectors=retired)
