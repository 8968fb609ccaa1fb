# SPDX-License-Identifier: GPL-3.0-or-later
"""QR codes of addresses, as SVG that stands in the page itself."""

from __future__ import annotations

import segno
from markupsafe import Markup

__all__ = ["qr_code"]

_QUIET = 4
"""Light modules around the code, as ISO/IEC 18004 asks for; a camera finds it on a dark page by them."""


def qr_code(address: str) -> Markup:
    """One path, a run of dark modules of a row at a time, with no colour of its own: the style gives it."""
    rows = segno.make_qr(address, error="m").matrix
    side = len(rows) + 2 * _QUIET
    path = "".join(
        f"M{start + _QUIET} {y + _QUIET}h{length}v1h-{length}z"
        for y, row in enumerate(rows)
        for start, length in _runs(row)
    )
    # Numbers alone are put in.
    return Markup(f'<svg viewBox="0 0 {side} {side}" aria-hidden="true" focusable="false"><path d="{path}"/></svg>')  # noqa: S704


def _runs(row: bytes | bytearray) -> list[tuple[int, int]]:
    """Where dark modules begin, and how many follow one another."""
    runs: list[tuple[int, int]] = []
    for place, dark in enumerate(row):
        if dark and runs and sum(runs[-1]) == place:
            runs[-1] = (runs[-1][0], runs[-1][1] + 1)
        elif dark:
            runs.append((place, 1))
    return runs
