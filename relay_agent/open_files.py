# SPDX-License-Identifier: GPL-3.0-or-later
"""How many files the agent may have open: a session is one, a delivery another."""

from __future__ import annotations

import contextlib
import resource

__all__ = ["allow_open_files"]


def allow_open_files() -> None:
    """As many as the host lets us, for this process and those it starts.

    With the usual soft limit of 1024, fewer sessions than are allowed stop everything.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
