# SPDX-License-Identifier: GPL-3.0-or-later
"""Bar charts as inline SVG that fit any width: bars are per cent of it, and text keeps its size.

Colours are classes of the page's style, so that they follow light and dark. Every value is also text: nobody has to
tell colours apart, and the description reads as a sentence where nothing is seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

__all__ = ["Bar", "Mark", "Part", "bar_chart", "strip"]

_ROW = 66
_BAR = 12
_TOP = 2
_FOOT = 20


@dataclass(frozen=True)
class Part:
    """A piece of a bar. share: of the whole width, 0 to 1; colour: a class of the page; words: what it is."""

    share: float
    colour: str
    words: str


@dataclass(frozen=True)
class Bar:
    """A row: its name, its value as text, and what it is made of."""

    name: str
    value: str
    parts: Sequence[Part] = field(default_factory=tuple)
    faint: bool = False
    """Nothing is known of it."""


@dataclass(frozen=True)
class Mark:
    """A line across all bars. share: of the whole width, 0 to 1."""

    share: float
    words: str


def bar_chart(identifier: str, title: str, bars: Sequence[Bar], mark: Mark | None = None) -> str:
    """An <svg> with a title and a description that has all names and values. identifier: unique in its page."""
    height = _TOP + _ROW * len(bars) + (_FOOT if mark else 0)
    said = "; ".join(f"{bar.name}: {bar.value}" for bar in bars) + (f". {mark.words}" if mark else "")
    lines = [
        f'<svg class="chart" width="100%" height="{height}" role="img" '
        f'aria-labelledby="{identifier}-title {identifier}-text">',
        f'<title id="{identifier}-title">{escape(title)}</title>',
        f'<desc id="{identifier}-text">{escape(said)}</desc>',
    ]
    for number, bar in enumerate(bars):
        top = _TOP + _ROW * number
        faint = " faint" if bar.faint else ""
        lines += [
            f'<text class="name{faint}" x="0" y="{top + 14}">{escape(bar.name)}</text>',
            f'<rect class="track" x="0" y="{top + 21}" width="100%" height="{_BAR}" rx="3"/>',
            *_parts(bar.parts, top + 21),
            # Below and not beside the name: on a phone the two have no room in one line.
            f'<text class="value{faint}" x="0" y="{top + 49}">{escape(bar.value)}</text>',
        ]
    if mark:
        lines += _marked(mark, len(bars), height)
    return "\n".join([*lines, "</svg>"])


def strip(parts: Sequence[Part]) -> str:
    """A single bar without words, for beside a text that has them all; not read out."""
    drawn = [f'<rect class="track" x="0" y="0" width="100%" height="{_BAR}" rx="3"/>', *_parts(parts, 0)]
    return "\n".join([f'<svg class="strip" width="100%" height="{_BAR}" aria-hidden="true">', *drawn, "</svg>"])


def _parts(parts: Sequence[Part], top: int) -> list[str]:
    lines = []
    at = 0.0
    for part in parts:
        share = min(max(part.share, 0.0), 1.0 - at)
        if share <= 0:
            continue
        lines.append(
            f'<rect class="bar {part.colour}" x="{_percent(at)}" y="{top}" width="{_percent(share)}" '
            f'height="{_BAR}" rx="3"><title>{escape(part.words)}</title></rect>'
        )
        at += share
    return lines


def _marked(mark: Mark, bars: int, height: int) -> list[str]:
    at = _percent(min(max(mark.share, 0.0), 1.0))
    tops = [_TOP + _ROW * number + 19 for number in range(bars)]
    lines = [f'<line class="mark" x1="{at}" x2="{at}" y1="{top}" y2="{top + _BAR + 4}"/>' for top in tops]
    # Near the right edge the words go to the left of the line.
    anchor = "end" if mark.share > 0.6 else "start"
    return [
        *lines,
        f'<text class="mark-words" x="{at}" y="{height - 6}" text-anchor="{anchor}">{escape(mark.words)}</text>',
    ]


def _percent(share: float) -> str:
    return f"{share * 100:.4g}%"
