# SPDX-License-Identifier: GPL-3.0-or-later
"""Telling greylisting from other deferrals (RFC 6647): such a host wants the same mail again, minutes later."""

from __future__ import annotations

import re

from relay_agent.delivery.outcome import Deferred, Scope

__all__ = ["is_greylisting"]

_REPLY = re.compile(r"4[0-9][0-9][ -]", re.ASCII)
_BY_NAME = re.compile(r"gr[ae]y[ -]?list", re.IGNORECASE)
# What those say that do not call it by its name (RFC 6647 4): these codes, and that one should come back.
_COME_BACK = re.compile(r"\b(?:try|again|later|retry|minutes|seconds|temporar\w*)\b", re.IGNORECASE)
_CODES = ("450", "451")
_STATUSES = ("4.2.0", "4.7.0", "4.7.1")


def is_greylisting(outcome: Deferred, attempts: int = 0) -> bool:
    """Whether this deferral is, or most likely is, greylisting.

    attempts: how many there were, this one included; the first one from an unknown sender is what greylisting puts
    off, so words that only hint at it count there and nowhere else. 0: unknown, only the name counts.
    """
    if outcome.fault or not outcome.host or not _REPLY.match(outcome.text):
        return False
    if _BY_NAME.search(outcome.text):
        return True
    if attempts != 1 or outcome.scope is Scope.HOST:
        return False
    return outcome.text[:3] in _CODES and outcome.status in _STATUSES and _COME_BACK.search(outcome.text) is not None
