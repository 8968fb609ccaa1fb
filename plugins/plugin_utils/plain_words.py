# SPDX-License-Identifier: GPL-3.0-or-later
"""Numbers, spans of time and text from elsewhere, as people read them on a terminal or a page."""

from __future__ import annotations

import unicodedata

__all__ = ["count", "percent", "plain", "span"]

_SPANS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def span(seconds: float | None) -> str:
    """A span of time in its two largest units, such as ``2 d 3 h``; a dash for None."""
    if seconds is None:
        return "-"
    left = int(max(0.0, seconds))
    for number, (length, unit) in enumerate(_SPANS):
        if left >= length:
            words = f"{left // length} {unit}"
            smaller, smaller_unit = _SPANS[number + 1] if number + 1 < len(_SPANS) else (length, unit)
            rest = left % length // smaller
            return f"{words} {rest} {smaller_unit}" if rest else words
    return "0 s"


def count(number: float | None) -> str:
    """A whole number with commas; a dash for None."""
    return "-" if number is None else f"{number:,.0f}"


def percent(share: float | None) -> str:
    """A share of 1 as per cent; small ones are not made nothing. A dash for None."""
    if share is None:
        return "-"
    if 0 < share < 0.001:
        return "< 0.1 %"
    return f"{share * 100:.1f} %" if 0 < share < 0.1 else f"{share * 100:.0f} %"


def plain(text: str) -> str:
    """Text from another server or host without what acts on a terminal or turns the direction of writing around."""
    return "".join(
        letter if letter == " " or not unicodedata.category(letter).startswith(("C", "Z")) else " " for letter in text
    )
