# SPDX-License-Identifier: GPL-3.0-or-later
"""A message's events, in sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .story import waits_for_call
from .terminal import duration, escape, moment, size

__all__ = ["ending", "events_told"]

_NOT_TOLD = ("ts", "level", "event", "queue_id", "to")
_OPERATOR = {
    "operator_held": "The operator held it",
    "operator_released": "The operator released it",
    "operator_retried": "The operator had it tried at once",
    "operator_deleted": "The operator deleted it, without a bounce",
}


def events_told(events: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A line for each event, in the order given: its time, and what happened."""
    for event in events:
        yield f"{moment(_number(event, 'ts'))}  {_sentence(event)}"


def ending(events: Sequence[Mapping[str, Any]], queued: Mapping[str, Any] | None, now: float) -> str:
    """Where the message is now. queued: as the control socket shows it, None when it has left the queue."""
    if queued is not None:
        waiting = queued["recipients"]
        held = [each for each in waiting if each["state"] == "held"]
        count = f"{len(waiting)} recipient{'' if len(waiting) == 1 else 's'}"
        if len(held) == len(waiting):
            return f"It is held for {count}: `relay-agent queue release` lets it go on."
        going_on = [each for each in waiting if each["state"] != "held"]
        if all(waits_for_call(each, now) for each in going_on):
            sites = ", ".join(sorted({waits_for_call(each, now) for each in going_on}))
            return f"It is in the queue for {count}, until the site of {escape(sites)} calls in for its mail."
        due = min(each["next_attempt"] for each in going_on if not waits_for_call(each, now))
        when = "is due now" if due <= now else f"comes in {duration(due - now)}"
        return f"It is in the queue for {count}; the next attempt {when}."
    names = {event.get("event") for event in events}
    if not events:
        return "Nothing is known of it."
    if "operator_deleted" in names:
        return "It is no longer in the queue."
    if "failed" in names:
        return "It has left the queue: not everybody got it, see above."
    if "delivered" in names:
        return "It has left the queue: everybody's server has taken it."
    return "It is no longer in the queue."


def _sentence(event: Mapping[str, Any]) -> str:
    name = str(event.get("event", ""))
    recipient = f"<{_text(event, 'recipient')}>"
    match name:
        case "accepted":
            return _accepted(event)
        case "delivered":
            return f"Delivered to {recipient}{_answer(event)}{_after(event)}."
        case "deferred":
            return _deferred(event, recipient)
        case "waits_for_call":
            return f"For {recipient} it waits for a site{_answer(event)}."
        case "failed":
            return f"Given up for {recipient}{_answer(event)}{_after(event)}."
        case "bounced":
            return f"A bounce was written to <{_text(event, 'to')}>: message {_text(event, 'bounce')}."
        case "relay_notice":
            return f"A notice that it was handed on was written to <{_text(event, 'to')}>: {_text(event, 'notice')}."
        case "dropped":
            return f"No bounce was written: {_text(event, 'reason')}."
        case "refused":
            return f"Refused: {_text(event, 'reply')}."
    if name in _OPERATOR:
        recipients = event.get("recipients")
        whom = ", ".join(f"<{escape(str(each))}>" for each in recipients) if isinstance(recipients, list) else ""
        return f"{_OPERATOR[name]}{f', for {whom}' if whom else ''}."
    details = ", ".join(
        f"{escape(str(key))} {escape(str(value))[:200]}" for key, value in event.items() if key not in _NOT_TOLD
    )
    return f"{escape(name).replace('_', ' ').capitalize()}{f': {details}' if details else ''}."


def _accepted(event: Mapping[str, Any]) -> str:
    sender = _text(event, "sender")
    parts = [f"Accepted from <{sender}>" if sender else "Accepted, with no sender to bounce to"]
    if event.get("account"):
        parts.append(f"signed in as {_text(event, 'account')}")
    if event.get("peer"):
        secure = " with TLS" if event.get("tls") else ""
        parts.append(f"at {_text(event, 'peer')}, port {_text(event, 'port')}{secure}")
    to = event.get("to")
    if isinstance(to, list) and to:
        shown = ", ".join(f"<{escape(str(each))}>" for each in to[:5])
        parts.append(f"for {shown}" + (f" and {len(to) - 5} more" if len(to) > 5 else ""))
    text = f"{', '.join(parts)}: {size(int(_number(event, 'size')))}"
    if event.get("message_id"):
        text += f", Message-ID {_text(event, 'message_id')}"
    if event.get("held_until"):
        text += f", not to be sent before {moment(_number(event, 'held_until'))}"
    return f"{text}."


def _deferred(event: Mapping[str, Any], recipient: str) -> str:
    text = f"Not delivered to {recipient} yet{_answer(event)}."
    if event.get("held"):
        return f"{text} It is held since."
    if event.get("next_attempt"):
        text += f" Next attempt: {moment(_number(event, 'next_attempt'))}."
    return text


def _answer(event: Mapping[str, Any]) -> str:
    reply = _text(event, "reply").rstrip(".")
    if not reply:
        return ""
    host = _text(event, "host")
    if not host:
        return f": {reply}"
    # What begins with a reply code was said by the host, anything else happened on the way to it.
    return f": {host} answered {reply}" if reply[:3].isdigit() else f": {host}: {reply}"


def _after(event: Mapping[str, Any]) -> str:
    if "delay" not in event:
        return ""
    attempt = int(_number(event, "attempt"))
    which = f", at attempt {attempt}" if attempt > 1 else ""
    return f" ({duration(_number(event, 'delay'))} after it came{which})"


def _text(event: Mapping[str, Any], key: str) -> str:
    value = event.get(key)
    return "" if value is None else escape(str(value))


def _number(event: Mapping[str, Any], key: str) -> float:
    value = event.get(key)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else 0.0
