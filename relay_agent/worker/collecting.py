# SPDX-License-Identifier: GPL-3.0-or-later
"""Garbage collection, kept away from mail."""

from __future__ import annotations

import gc

__all__ = ["collect_and_freeze"]


def collect_and_freeze() -> None:
    """Collect now, and leave what remains out of every later collection; before there is mail in hand.

    Modules, classes and configuration are fifty thousand objects that live as long as the process. Python would first
    go through them some hundred messages after the start, and nobody had an answer for 30 milliseconds and more. What
    is left out is still freed when nothing refers to it any more, but for cycles.
    """
    gc.collect()
    gc.freeze()
