# SPDX-License-Identifier: GPL-3.0-or-later
"""A queued message as the control socket shows it."""

from __future__ import annotations

from typing import Any, Final

from relay_agent.queue.model import Message

__all__ = ["PAGE", "PAGE_RECIPIENTS", "describe"]

PAGE: Final = 500  # messages that are read from the queue at a time: a long list must not hold up mail
PAGE_RECIPIENTS: Final = 5000  # and no more recipients than these: what is read is held in memory


def describe(message: Message) -> dict[str, Any]:
    """The message, JSON-ready: everything but its content. Times are seconds since the epoch, sizes bytes."""
    return {
        "id": message.queue_id,
        "sender": message.envelope.reverse_path,
        "account": message.envelope.account,
        "options": dict(message.envelope.options),
        "size": message.body.size,
        "created": message.created,
        "expires": message.expires,
        "recipients": [
            {
                "number": number,
                "address": recipient.address,
                "state": str(recipient.state),
                "attempts": recipient.attempts,
                "next_attempt": recipient.next_attempt,
                "last_attempt": recipient.last_attempt,
                "last_status": recipient.last_status,
                "last_reply": recipient.last_reply,
                "last_host": recipient.last_host,
                "options": dict(recipient.options),
            }
            for number, recipient in sorted(message.recipients.items())
        ],
    }
