# SPDX-License-Identifier: GPL-3.0-or-later
"""Attempts as JSON, for those that are made on one host and judged on another. Standard library only, see `attempt`."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from typing import Any

from relay_agent.probe.attempt import Attempt, End, Shown, Target

__all__ = ["as_json", "read_attempt"]

_LONGEST = 500  # characters of a text, as an attempt keeps them: who sends it may be a stranger


def as_json(found: Attempt) -> dict[str, Any]:
    """The attempt; what is empty is left out."""
    target = found.target
    told: dict[str, Any] = {
        "family": target.family,
        "address": target.address,
        "port": target.port,
        "mode": target.mode,
        "end": found.end.value,
        "seconds": round(found.seconds, 3),
    }
    for name in ("banner", "starttls", "starttls_failed", "auth", "statements", "said", "location"):
        if value := getattr(found, name):
            told[name] = value
    if found.shown is not None:
        der = base64.b64encode(found.shown.der).decode("ascii")
        told["shown"] = {"problem": found.shown.problem, "der": der, "version": found.shown.version}
    return told


def read_attempt(host: str, told: Mapping[str, Any]) -> Attempt:
    """The attempt again, its texts cut. host: the relay's name.

    Raises KeyError, TypeError, ValueError, OverflowError for what is none.
    """

    def text(name: str) -> str:
        return str(told.get(name, ""))[:_LONGEST]

    target = Target(host, told["family"], text("address"), int(told["port"]), told["mode"])
    if target.family not in ("ipv4", "ipv6") or target.mode not in ("greeting", "tls"):
        raise ValueError(f"no attempt: {target}")
    seconds = float(told["seconds"])
    if not math.isfinite(seconds):
        raise ValueError(f"no time: {seconds}")
    shown = None
    if one := told.get("shown"):
        shown = Shown(
            str(one["problem"])[:_LONGEST], base64.b64decode(one["der"], validate=True), str(one["version"])[:_LONGEST]
        )
    return Attempt(
        target,
        End(told["end"]),
        seconds,
        banner=text("banner"),
        starttls=bool(told.get("starttls")),
        starttls_failed=text("starttls_failed"),
        auth=tuple(map(str, told.get("auth", ()))),
        shown=shown,
        statements=[str(each) for each in told.get("statements", ())],
        said=text("said"),
        location=text("location"),
    )
