# SPDX-License-Identifier: GPL-3.0-or-later
"""Which refusals say that a mailbox is not there, and not that this mail, this sender or this moment is unwelcome."""

from __future__ import annotations

import re

from relay_agent.delivery.outcome import Failed, Outcome

__all__ = ["is_hard_bounce"]

# RFC 3463 3.2, 3.3: no such mailbox, no such system, bad syntax, moved without a new address; mailbox disabled.
_STATUS = frozenset({"5.1.1", "5.1.2", "5.1.3", "5.1.6", "5.2.1"})
_ENHANCED = re.compile(r"5[0-9][0-9] 5\.[0-9]")
_REPLY = re.compile(r"5[0-9][0-9] ")
# Hosts without enhanced codes (RFC 2034): what they say of a mailbox in the implementations that are common.
_WORDS = re.compile(
    r"(?:user|mailbox|recipient|address|account|addressee)\b.{0,60}?"
    r"\b(?:unknown|not found|does not exist|doesn't exist|disabled|inactive|invalid)\b|"
    r"\b(?:unknown|invalid|no such|nonexistent)\W{1,3}(?:local )?(?:user|mailbox|recipient|address|account)\b|"
    r"\bno mailbox\b",
    re.IGNORECASE,
)
# Many give 5.1.1 to whom they do not like.
_POLICY = re.compile(
    r"spam|block|black ?list|deny ?list|reputation|polic(?:y|ies)|\brbl\b|dnsbl|banned|abus|\bspf\b|dkim|dmarc|"
    r"rate.?limit|too many",
    re.IGNORECASE,
)
_ADDRESS = re.compile(r"<[^<>]*>|\S{1,64}@\S+")


def is_hard_bounce(outcome: Outcome, *, by_own_host: bool) -> bool:
    """Whether the recipient's own host has said for good that there is no such mailbox.

    by_own_host: the host is one of the domain's MX hosts. An upstream relay's refusal may be about anything, and what
    we conclude ourselves (from DNS, from a fault) may be ours to repair.
    """
    if not isinstance(outcome, Failed) or not by_own_host or not outcome.host or outcome.status not in _STATUS:
        return False
    said = _ADDRESS.sub("", outcome.text)  # <blocker@example.org>: User unknown
    if not _REPLY.match(said) or _POLICY.search(said):
        return False
    return bool(_ENHANCED.match(said) or _WORDS.search(said))
