# SPDX-License-Identifier: GPL-3.0-or-later
"""A queued message's story, in sentences."""

from __future__ import annotations

from typing import Any

from .terminal import duration, escape, moment, size

__all__ = ["tell", "waits_for_call"]


def tell(message: dict[str, Any], now: float) -> str:
    """What happened to the message and what comes next; `message` as the control socket shows it."""
    recipients = message["recipients"]
    count = f"{len(recipients)} recipient{'' if len(recipients) == 1 else 's'}"
    lines = [
        f"Message {escape(message['id'])}, {size(message['size'])}, for {count} still in the queue.",
        f"{_origin(message)} {duration(now - message['created'])} ago, on {moment(message['created'])}.",
    ]
    for recipient in recipients:
        lines += ["", f"<{escape(recipient['address'])}>"]
        lines += [f"  {sentence}" for sentence in _recipient(recipient, now)]
    lines += ["", _ending(message, now)]
    return "\n".join(lines)


def waits_for_call(recipient: dict[str, Any], now: float) -> str:
    """The domain whose site a recipient waits for; its `next_attempt` is when it is given up. Empty: for none."""
    return str(recipient.get("options", {}).get("AWAITS", "")) if recipient["next_attempt"] > now else ""


def _origin(message: dict[str, Any]) -> str:
    if message["account"] is None:
        return "This is a bounce that the relay wrote itself,"
    sender = f"from <{escape(message['sender'])}>"
    if message["account"]:
        return f"It came {sender}, who signed in as {escape(message['account'])},"
    return f"It came {sender}, out of a trusted network,"


def _recipient(recipient: dict[str, Any], now: float) -> list[str]:
    sentences = []
    attempts = recipient["attempts"]
    if not attempts:
        sentences.append("Not tried yet.")
    else:
        times = {1: "once", 2: "twice"}.get(attempts, f"{attempts} times")
        last = recipient["last_attempt"]
        when = f", last {duration(now - last)} ago" if last is not None else ""
        sentences.append(f"Tried {times}{when}.")
    reply = escape(recipient["last_reply"])
    if reply:
        status = recipient["last_status"]
        shown = f"{escape(status)} {reply}" if status and status not in reply else reply
        host = recipient["last_host"]
        # What begins with a reply code was said by the host, anything else happened on the way to it.
        what = "answered" if reply[:3].isdigit() else "did not take it"
        sentences.append(f"{escape(host)} {what}: {shown}" if host else f"The reason: {shown}")
    if recipient["state"] == "held":
        sentences.append("It is held: nothing happens until it is released.")
    elif site := waits_for_call(recipient, now):
        sentences.append(f"It goes on when the site of {escape(site)} calls in for its mail.")
    elif recipient["next_attempt"] <= now:
        sentences.append("It is due now.")
    else:
        wait = duration(recipient["next_attempt"] - now)
        sentences.append(f"The next attempt is in {wait}, at {moment(recipient['next_attempt'])}.")
    return sentences


def _ending(message: dict[str, Any], now: float) -> str:
    # What waits for a site is kept for as long as its route says.
    kept = [each["next_attempt"] for each in message["recipients"] if each.get("options", {}).get("AWAITS")]
    expires = max([message["expires"], *kept])
    left = expires - now
    who = "it is given up" if not message["sender"] else f"<{escape(message['sender'])}> gets it back as a bounce"
    if left <= 0:
        return f"Its time is over since {moment(expires)}: at the next failure {who}."
    return f"What is not delivered by {moment(expires)} (in {duration(left)}): {who}."
