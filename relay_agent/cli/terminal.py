# SPDX-License-Identifier: GPL-3.0-or-later
"""What the commands print: plain words, tables, JSON; colour only where a person looks at it.

Addresses and replies come from strangers: nothing printed here may make a terminal act.
"""

from __future__ import annotations

import json
import os
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, TextIO

__all__ = [
    "complain",
    "duration",
    "escape",
    "moment",
    "print_json",
    "print_json_list",
    "print_problem",
    "size",
    "style",
    "table",
]

_STYLES = {"bold": "1", "red": "31", "green": "32", "yellow": "33", "faint": "2"}


def escape(text: str) -> str:
    """The text with every character that a terminal acts on, or that turns text around, spelled out."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(letter if letter == " " or letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def complain(text: str) -> None:
    """A line for the person, on standard error."""
    print_problem(f"relay-agent: {text}")


def print_problem(problem: str) -> None:
    """A line ``file: key: problem`` on standard error, which begins with the file for editors to jump to."""
    print(style(escape(problem), "red", sys.stderr), file=sys.stderr)


def style(text: str, name: str, stream: TextIO | None = None) -> str:
    """The text in a colour, if the stream is a terminal and NO_COLOR is not set (no-color.org)."""
    stream = stream or sys.stdout
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not stream.isatty():
        return text
    if sys.platform == "win32" and not os.environ.get("WT_SESSION"):
        return text  # only Windows Terminal is sure to take these for colours
    return f"\x1b[{_STYLES[name]}m{text}\x1b[0m"


def print_json(value: Any) -> None:
    """Print JSON, with its keys in the order given."""
    print(json.dumps(value, indent=2, ensure_ascii=True))


def print_json_list(items: Iterator[Any]) -> None:
    """Print a JSON list as it arrives: a million messages are not collected first."""
    separator = "[\n"
    for item in items:
        print(separator + json.dumps(item, ensure_ascii=True), end="")
        separator = ",\n"
    print("[]" if separator == "[\n" else "\n]")


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[str] = ()) -> str:
    """Columns as wide as they need to be; those named in `right` are set to the right. Cells are escaped."""
    cells = [[escape(cell) for cell in row] for row in rows]
    widths = [
        max(_width(head), *(_width(row[index]) for row in cells)) if cells else _width(head)
        for index, head in enumerate(heads)
    ]

    def line(row: Sequence[str]) -> str:
        padded = []
        for head, cell, width in zip(heads, row, widths, strict=True):
            space = " " * (width - _width(cell))
            padded.append(space + cell if head in right else cell + space)
        return "  ".join(padded).rstrip()

    return "\n".join([style(line(heads), "bold"), *(line(row) for row in cells)])


def duration(seconds: float) -> str:
    """A length of time as a person says it, in its two largest units: "3 d 4 h", "2 min 5 s", "0 s"."""
    left = max(0, round(seconds))
    parts: list[str] = []
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)):
        count, left = divmod(left, length)
        if count or (unit == "s" and not parts):
            parts.append(f"{count} {unit}")
        elif parts:
            break
        if len(parts) == 2:
            break
    return " ".join(parts)


def moment(seconds: float) -> str:
    """A time since the epoch, in UTC."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"


def size(count: int) -> str:
    """Bytes as a person says it: "312 B", "4.1 KB", "52 MB"."""
    value = float(count)
    for unit in ("B", "KB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 10 else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"


def _width(text: str) -> int:
    return sum(
        2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text if not unicodedata.combining(letter)
    )
