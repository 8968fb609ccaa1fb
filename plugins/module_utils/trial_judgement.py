# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a relay is as well after a change as it was before: its processes, its error metrics, the mail that waited.

Taken from the agent itself, before the change and again while it is on trial. Whether mail goes in and comes out is
seen from outside, by probes.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .live_reload import COMMAND, agent_status

__all__ = ["judge", "observe", "queue_moves", "rises"]

OUR_FAULTS = (
    "postroad_quarantined_total",
    "postroad_worker_restarts_total",
    'postroad_messages_refused_total{reason="fault"}',
    'postroad_recipients_refused_total{reason="fault"}',
)
"""Counters of what is never the fault of others, whole or with all their labels: must not rise at all."""

TROUBLES = (
    'postroad_host_troubles_total{cause="sign_in"}',
    'postroad_host_troubles_total{cause="tls"}',
)
"""Counters of what others may cause as well: must not rise much faster than before, while less mail gets through.

New workers know nothing yet of hosts that have had trouble for long, and try each of them once.
"""

_OUTCOMES = 'postroad_delivery_outcomes_total{outcome="%s"}'
_MUCH_FASTER = 3.0
_FEWEST_TROUBLES = 3
_FEWEST_OUTCOMES = 10
_HALF = 0.5  # of the share of attempts that usually deliver
_MOST = 0.8  # the same, where troubles have risen, too
_WATCHED = 3  # messages
_GROUPS = 3
_ASKED = 20  # times: a worker that leaves after a reload may have closed its store, and is asked no more in a moment
_GREETED = 5  # the same, where it may be that no agent runs
_PAUSE = 0.5  # seconds
_TRIED_WITHIN = 45.0  # seconds; a host that does not answer takes some

RunCommand = Callable[..., tuple[int, str, str]]


class _UnaskedError(Exception):
    """A command of the agent gave no answer that can be read; the text says which, and what it said instead."""


def observe(run: RunCommand, *, sleep: Callable[[float], None] = time.sleep) -> dict[str, Any]:
    """How it is now, JSON-ready: `counters` by name and labels, how long they ran, and some mail that `waits`.

    at: when it was looked at, in seconds since the epoch; uptime: 0 when no agent answers. unasked: what could not be
    asked, a sentence each; none where no agent answers at all. Each is asked again for a while.
    """
    seen: dict[str, Any] = {"at": time.time(), "uptime": 0.0, "counters": {}, "waits": {}, "unasked": []}
    status = _status(run, sleep)
    if status is None:
        return seen
    seen["at"] = time.time()  # of the answer, which a busy host may have taken seconds for
    seen["uptime"] = float(status.get("uptime", 0.0))
    for key, ask in (("counters", _counters), ("waits", _waiting)):
        problem = ""
        for _ in range(_ASKED):
            try:
                seen[key] = ask(run)
                break
            except _UnaskedError as error:
                problem = str(error)
            sleep(_PAUSE)
        else:
            seen["unasked"].append(problem)
    return seen


def _status(run: RunCommand, sleep: Callable[[float], None]) -> dict[str, Any] | None:
    """What the agent says of itself; None when none answers for a while."""
    for _ in range(_GREETED):
        if (status := agent_status(run)) is not None:
            return status
        sleep(_PAUSE)
    return None


def _counters(run: RunCommand) -> dict[str, float]:
    """Raises _UnaskedError; also for an answer without a single one, of which an agent always has some."""
    status, text, errors = run([COMMAND, "metrics"])
    counters = {}
    try:
        for line in text.splitlines():
            name, _, value = line.rpartition(" ")
            if name.startswith("postroad_") and "_bucket" not in name:
                counters[name] = float(value)
    except ValueError:
        counters.clear()
    if status != 0 or not counters:
        raise _UnaskedError(_unasked("metrics", status, errors))
    return counters


def _unasked(command: str, status: int, errors: str) -> str:
    said = errors.strip().splitlines()
    return f"relay-agent {command} gave no answer: {said[-1] if said else f'exit status {status}'}"


def _waiting(run: RunCommand) -> dict[str, int]:
    """Attempts so far of a few messages that wait for another, by queue id: of each domain the one due first.

    Raises _UnaskedError.
    """
    due: dict[str, tuple[float, str, int]] = {}
    for message in _messages(run):
        for recipient in message["recipients"]:
            # What waits for a site to call in is tried when that calls, and not when it is asked for.
            waits = recipient["state"] == "waiting" and "AWAITS" not in recipient.get("options", {})
            if waits and recipient["attempts"] > 0 and recipient["next_attempt"]:
                candidate = (recipient["next_attempt"], message["id"], _attempts(message))
                domain = recipient["address"].rpartition("@")[2]
                due[domain] = min(due.get(domain, candidate), candidate)
    return {queue_id: attempts for _, queue_id, attempts in sorted(due.values())[:_WATCHED]}


def _messages(run: RunCommand, *queue_ids: str) -> list[dict[str, Any]]:
    """Raises _UnaskedError. That some of `queue_ids` are not in the queue is an answer, although a failure (1)."""
    status, output, errors = run([COMMAND, "queue", "list", "--json", *queue_ids])
    try:
        messages: list[dict[str, Any]] = json.loads(output)
    except ValueError:
        raise _UnaskedError(_unasked("queue list", status, errors)) from None
    if status != 0 and not queue_ids:
        raise _UnaskedError(_unasked("queue list", status, errors))
    return messages


def _attempts(message: Mapping[str, Any]) -> int:
    return sum(recipient["attempts"] for recipient in message["recipients"])


def judge(
    run: RunCommand,
    before: Mapping[str, Any],
    switched: Mapping[str, Any],
    *,
    sleep: Callable[[float], None] = time.sleep,
) -> list[str]:
    """What is worse than `before`, in words; empty when all is well. switched: right after the change.

    What could not be asked is a problem as well: silence is no proof.
    """
    status = _status(run, sleep)
    if status is None:
        return ["no agent answers"]
    problems = [] if any(worker["state"] == "running" for worker in status["workers"]) else ["no worker takes mail"]
    problems += queue_moves(run, before["waits"], sleep=sleep)
    now = observe(run, sleep=sleep)
    problems += rises(before, switched, now)
    problems += [] if switched["uptime"] else ["right after the change no agent answered"]
    for when, seen in (("before the change", before), ("right after the change", switched), ("now", now)):
        problems += [f"{when}, {words}" for words in seen.get("unasked", ())]
    return problems + (_said(run) if problems else [])


def _said(run: RunCommand) -> list[str]:
    """Why most of the mail that waits does so, in the words of its hosts: often the cause of everything else."""
    _, output, _ = run([COMMAND, "queue", "list", "--groups", "--json"])
    try:
        groups = [group for group in json.loads(output) if group["reason"]]
    except ValueError:
        return []
    most = sorted(groups, key=lambda group: -int(group["recipients"]))[:_GROUPS]
    return [f"waits for {group['destination']} ({group['recipients']}): {group['reason']}" for group in most]


def rises(before: Mapping[str, Any], switched: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The error counters that have risen more than they may. See `judge`."""
    problems = []
    old, middle, new = before["counters"], switched["counters"], now["counters"]
    if _started_anew(switched, now):
        problems.append("the agent has ended since the change, and was started anew by systemd")
        middle = {}
    counted = {} if _started_anew(before, now) else old
    for name, value in sorted(new.items()):
        rise = value - counted.get(name, 0.0)
        if rise > 0 and (name in OUR_FAULTS or name.partition("{")[0] in OUR_FAULTS):
            problems.append(f"{name} has risen by {rise:.0f}")
    _, usual = _delivered(old)
    attempts, share = _delivered({name: value - middle.get(name, 0.0) for name, value in new.items()})
    seconds = max(1.0, now["uptime"] - switched["uptime"])
    for name in TROUBLES if share < usual * _MOST else ():
        rise = new.get(name, 0.0) - middle.get(name, 0.0)
        expected = seconds * old.get(name, 0.0) / max(1.0, before["uptime"])
        if rise >= _FEWEST_TROUBLES and rise > _MUCH_FASTER * expected:
            problems.append(f"{name} has risen by {rise:.0f} in {seconds:.0f} s, much faster than before")
    if attempts >= _FEWEST_OUTCOMES and share < usual * _HALF:
        text = f"{share:.0%} of {attempts:.0f} attempts have delivered since the change, {usual:.0%} did before"
        problems.append(text)
    return problems


def _started_anew(earlier: Mapping[str, Any], later: Mapping[str, Any]) -> bool:
    """Whether another agent answers than `earlier`, whose counters began at nothing. A reload goes on counting.

    By when it began: one that was young before may be older now than the one before it was then.
    """
    if later["uptime"] < earlier["uptime"]:
        return True
    if not earlier["uptime"] or "at" not in earlier or "at" not in later:
        return False
    # In the middle between its beginning and the earlier look: either may have waited for an answer.
    return bool(later["at"] - later["uptime"] > earlier["at"] - earlier["uptime"] / 2)


def _delivered(counts: Mapping[str, float]) -> tuple[float, float]:
    """How many attempts there were, and the share of them that delivered; all of none."""
    delivered, *others = (counts.get(_OUTCOMES % each, 0.0) for each in ("delivered", "deferred", "failed"))
    attempts = delivered + sum(others)
    return attempts, delivered / attempts if attempts else 1.0


def _under_way(run: RunCommand, messages: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a connection is open, or being opened, to a host that one of the messages waits for.

    An attempt counts when it ends, and one at a host that says nothing takes longer than anybody wants to wait here.
    """
    hosts = {str(recipient.get("last_host")) for message in messages for recipient in message["recipients"]} - {""}
    destinations = ((agent_status(run) or {}).get("delivery") or {}).get("destinations") or ()
    return any(
        each["active"] and hosts & {name for label in each["hosts"] for name in (label, label.rpartition(":")[0])}
        for each in destinations
    )


def queue_moves(
    run: RunCommand,
    waits: Mapping[str, int],
    *,
    within: float = _TRIED_WITHIN,
    sleep: Callable[[float], None] = time.sleep,
) -> list[str]:
    """Whether mail that waited before is tried, once that is asked for; whether its host takes it is not asked."""
    if not waits:
        return []
    deadline = time.monotonic() + within
    asked = False
    while True:
        # What left the queue meanwhile is no answer to that, but ends the loop.
        asked = asked or run([COMMAND, "queue", "retry", *waits])[0] == 0
        try:
            messages = _messages(run, *waits)
            left = {message["id"]: _attempts(message) for message in messages}
            problem = f"mail that waited before is not tried any more: {', '.join(waits)}"
            if any(queue_id not in left or left[queue_id] > attempts for queue_id, attempts in waits.items()):
                return []
        except _UnaskedError as error:
            problem = f"whether mail that waited before is tried could not be seen, as {error}"
        else:
            if _under_way(run, messages):
                return []
        if time.monotonic() > deadline:
            return [problem]
        sleep(_PAUSE)
