# SPDX-License-Identifier: GPL-3.0-or-later
"""Why mail waits, in words that a thousand recipients can share: servers put addresses, times and numbers of their own
into what they say."""

from __future__ import annotations

import re

__all__ = ["WILDCARD", "generalised"]

WILDCARD = "*"
_LONGEST = 160
# At the beginning: the status that we keep, the reply's code and its own status.
_CODES = re.compile(r"(?:\d\.\d{1,3}\.\d{1,3} +)?(?:\d{3}(?:[ -]|$))?(?:\d\.\d{1,3}\.\d{1,3}\b)?", re.ASCII)
# An address, or a word with a digit in it.
_OWN = re.compile(r"[^\s<>()\"']*(?:@|\d)[^\s<>()\"']*", re.ASCII)
_SEVERAL = re.compile(r"\*(?:[\s<>()\"',;:-]*\*)+")


def generalised(reason: str) -> str:
    """The reason with `*` in place of addresses and numbers; one line, at most 160 characters and an `*`."""
    text = " ".join(reason[:1000].split())
    codes = _CODES.match(text)
    start = codes.end() if codes is not None else 0
    head, rest = text[:start], text[start:]
    status, _, reply = head.partition(" ")
    if reply and status in reply:
        head = reply
    rest = _SEVERAL.sub(WILDCARD, _OWN.sub(WILDCARD, rest))
    whole = head + rest
    return whole if len(whole) <= _LONGEST else whole[:_LONGEST].rstrip() + WILDCARD
