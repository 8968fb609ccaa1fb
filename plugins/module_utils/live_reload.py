# SPDX-License-Identifier: GPL-3.0-or-later
"""A reload of the running agent, followed to its end.

The agent is told by a signal, so `systemctl reload` is over before the reload is; only the agent's own status says
whether the new configuration and the new release were taken up.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

__all__ = ["COMMAND", "ReloadError", "agent_status", "follow_reload"]

COMMAND = "/opt/postroad/current/bin/relay-agent"

_LOOK_EVERY = 0.2  # seconds
_SURE_AFTER = 1.5  # seconds; for releases whose status does not count reloads

RunCommand = Callable[..., tuple[int, str, str]]


class ReloadError(Exception):
    """The agent did not take up what it was to; the text says why."""


def agent_status(run: RunCommand, command: Sequence[str] = (COMMAND,)) -> dict[str, Any] | None:
    """What `relay-agent status` says; None when no agent answers."""
    status, output, _ = run([*command, "status", "--json"])
    if status != 0:
        return None
    try:
        answer: dict[str, Any] = json.loads(output)
    except ValueError:
        return None
    return answer if answer.get("running") else None


def follow_reload(
    before: Mapping[str, Any] | None,
    look: Callable[[], Mapping[str, Any] | None],
    alive: Callable[[], bool],
    *,
    within: float,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Wait until the reload that was asked for after `before` is done. Raises ReloadError.

    before: the agent's status then; None when it could not be asked. look: its status now. alive: whether its unit
    has not failed. within: seconds.
    """
    begun = clock()
    done, refused = _counts(before)
    while True:
        now = look()
        waited = clock() - begun
        if now is not None:
            if before is not None and now["pid"] != before["pid"]:
                raise ReloadError("the agent ended during the reload and was started anew by systemd")
            done_now, refused_now = _counts(now)
            if refused_now > refused:
                problems = now["reloads"].get("problems") or ["without a reason"]
                raise ReloadError("the agent refused the reload: " + "; ".join(problems))
            if not now.get("reloading") and (done_now > done or ("reloads" not in now and waited >= _SURE_AFTER)):
                return
        elif not alive():
            raise ReloadError("the agent stopped during the reload")
        if waited > within:
            raise ReloadError(f"the reload was not done after {within:.0f} s")
        sleep(_LOOK_EVERY)


def _counts(status: Mapping[str, Any] | None) -> tuple[int, int]:
    reloads = (status or {}).get("reloads", {})
    return reloads.get("done", 0), reloads.get("refused", 0)
