# SPDX-License-Identifier: GPL-3.0-or-later
"""What every text of the agent must be, whoever caused it."""

from __future__ import annotations

import re

__all__ = ["CONTROLS", "in_words", "whole_reply"]

#: What must not get into commands, replies, the log or a terminal.
CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_REPLY = re.compile(r"[45][0-9]{2} [45]\.[0-9]{1,3}\.[0-9]{1,3} [ -~\xa0-\U0010ffff]{1,500}")


def in_words(text: object) -> None:
    """Something on one line that a terminal shows as it is."""
    assert str(text)
    assert str(text).isprintable(), text


def whole_reply(text: object) -> None:
    """One SMTP reply with its enhanced status code, as long as a program has to read (RFC 5321 4.5.3.1.5)."""
    assert _REPLY.fullmatch(str(text)), text
    assert not CONTROLS.search(str(text)), text
    assert len(str(text).encode()) <= 510, text
