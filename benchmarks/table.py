# SPDX-License-Identifier: GPL-3.0-or-later
"""The comparison as a table for people: plain text for the terminal, Markdown for the documentation."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.rows import Result

__all__ = ["lines_of", "markdown", "number", "text"]

HEADER = ("load", "ours", "Postfix", "ratio", "target", "met", "p50 ms", "p99 ms", "CPU ms/msg", "peak MB")


def number(value: float) -> str:
    """Three digits that say something: 12,345, 123, 12.3, 1.23."""
    if value == 0:
        return "-"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _pair(ours: float, theirs: float) -> str:
    return "" if not ours and not theirs else f"{number(ours)} / {number(theirs)}"


def lines_of(results: Sequence[Result]) -> list[tuple[str, ...]]:
    """The cells of each row; where there are two figures the agent's is first, then Postfix's."""
    lines: list[tuple[str, ...]] = []
    for result in results:
        ours, theirs = result.ours_sample, result.postfix_sample
        lines.append(
            (
                result.title,
                f"{number(result.ours)} {result.unit}" if result.ours else "-",
                f"{number(result.postfix)} {result.unit}" if result.postfix else "-",
                number(result.ratio),
                result.target,
                {True: "yes", False: "NO", None: ""}[result.met],
                _pair(ours.whole_p50, theirs.whole_p50),
                _pair(ours.whole_p99, theirs.whole_p99),
                _pair(ours.cpu, theirs.cpu),
                _pair(ours.memory / 1e6, theirs.memory / 1e6),
            )
        )
    return lines


def text(results: Sequence[Result]) -> str:
    """Aligned columns, with remarks below."""
    lines = [HEADER, *lines_of(results)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADER))]
    shown = [
        "  ".join(cell.ljust(width) if column in (0, 4) else cell.rjust(width) for column, (cell, width) in pairs)
        for line in lines
        if (pairs := list(enumerate(zip(line, widths, strict=True))))
    ]
    remarks = [f"{result.key}: {result.why}" for result in results if result.why]
    return "\n".join([shown[0], "-" * len(shown[0]), *shown[1:], *remarks])


def markdown(results: Sequence[Result]) -> str:
    """The same as a Markdown table."""
    lines = [HEADER, tuple("---" for _ in HEADER), *lines_of(results)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
