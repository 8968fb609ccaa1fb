# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether this host is drained: it carries on what it has, and takes nothing new.

A file beside the configuration says so, whatever is in it. It outlives restarts, reboots and new configurations, and
goes away only when an operator ends the drain.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

__all__ = ["NAME", "Drained", "drained"]

NAME = "drained.json"


@dataclass(frozen=True)
class Drained:
    """since: seconds since the epoch, 0 when unknown. because: the operator's reason, "" for none."""

    since: float = 0.0
    because: str = ""


def drained(config: Path) -> Drained | None:
    """The drain of the host with this configuration file; None while it takes mail."""
    path = config.parent / NAME
    if not path.exists():
        return None
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        return Drained(float(said.get("since", 0.0)), str(said.get("because", "")))
    except (OSError, ValueError, TypeError, AttributeError):
        return Drained()
