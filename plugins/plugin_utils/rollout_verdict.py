# SPDX-License-Identifier: GPL-3.0-or-later
"""Judges a step of a rollout by what its tasks found on each host, and says what was done about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.postroad.relay.plugins.plugin_utils.probe_table import judge, not_probed, verdict

__all__ = ["foreseen_problems", "kept_problems", "notes", "outcome", "proved_problems", "staged_problems"]

Known = Mapping[str, Any]
"""What is registered for a host."""


def staged_problems(known: Known) -> list[str]:
    """Why a host is not ready to begin with."""
    staged = known.get("_relay_agent_staged") or {}
    if staged.get("unreachable"):
        return [f"it does not answer: {_message(staged)}"]
    return []


def proved_problems(host: str, known: Known) -> list[str]:
    """Why the change on a host has not proved itself; empty for a host on which nothing was to change.

    A drained host has no port that a probe could come in by: it is judged by what the agent says alone.
    """
    configured = known.get("_relay_agent_configured") or {}
    if configured.get("unreachable"):
        return [f"it did not answer any more when the change was made: {_message(configured)}"]
    if configured.get("failed"):
        return [_message(configured)]
    if not configured.get("on_trial"):
        return [] if "on_trial" in configured else ["the change was not made"]
    problems = []
    if not configured.get("drained"):
        name = known.get("relay_agent_hostname", host)
        rows = judge(name, known.get("_relay_verify_submitted") or {}, known.get("_relay_verify_arrived") or {})
        lost = verdict(rows)
        if lost:
            problems.append(lost)
    judged = known.get("_relay_rollout_judged") or {}
    if "problems" in judged:
        problems += judged["problems"]
    else:
        problems.append(f"how it is could not be asked: {_message(judged)}")
    return problems


def foreseen_problems(host: str, known: Known) -> list[str]:
    """Why check mode could not tell what would be changed on a host."""
    configured = known.get("_relay_agent_configured") or {}
    return proved_problems(host, known) if configured.get("failed") or configured.get("unreachable") else []


def notes(known: Known) -> list[str]:
    """What no probe has shown of the change on a host, and why; empty when every port was tried, or nothing changed."""
    configured = known.get("_relay_agent_configured") or {}
    if not configured.get("on_trial"):
        return []
    if configured.get("drained"):
        return ["drained: not probed"]
    return not_probed(known.get("_relay_verify_submitted") or {})


def kept_problems(known: Known) -> list[str]:
    """Why a host on which the change was to stay has not kept it."""
    if not (known.get("_relay_agent_configured") or {}).get("on_trial"):
        return []
    settled = known.get("_relay_rollout_settled") or {}
    return [] if "generation" in settled else [f"the change could not be confirmed: {_message(settled)}"]


def outcome(
    problems: Mapping[str, Sequence[str]],
    known: Mapping[str, Known],
    untouched: Sequence[str],
    *,
    confirm_within: int,
) -> str:
    """What failed and where, and what each host runs now; empty when nothing failed.

    problems: by host, of this step. known: what is registered for each of its hosts. untouched: hosts whose turn did
    not come. confirm_within: seconds until a host goes back by itself.
    """
    if not any(problems.values()):
        return ""
    lines = ["the rollout was stopped:"]
    for host in known:
        for problem in problems.get(host, ()):
            lines += [f"  {host}: {_indented(problem)}"]
    lines.append("what runs now:")
    lines += [f"  {host}: {_indented(_runs_now(each, confirm_within))}" for host, each in known.items()]
    if untouched:
        lines.append(f"  {', '.join(untouched)}: not touched")
    return "\n".join(lines)


def _runs_now(known: Known, confirm_within: int) -> str:
    """What the host itself said last; what nobody knows is told as such.

    A change that failed has mostly been put back by the host at once. Not when that failed, too, nor when the module
    broke off: then the change may be in use, and only the answer to `put_back` tells.
    """
    by_itself = f"it puts back what it ran before by itself, after {confirm_within} s or when it starts anew"
    configured = known.get("_relay_agent_configured") or {}
    settled, undone = known.get("_relay_rollout_settled") or {}, known.get("_relay_rollout_undone") or {}
    if "state" in settled:
        return f"what it ran before. {settled['state']}"
    if configured.get("unreachable"):
        return f"does not answer; if the change was begun there, {by_itself}"
    if not configured.get("on_trial") and not configured.get("failed"):
        return "what it ran before; nothing was to change" if configured else "what it ran before"
    if "generation" in settled:
        if "generations" in undone:
            return "what it ran before"
        return f"the change, as going back failed ({_message(undone)}): run rollback.yml"
    return f"not known ({_message(settled)}); if the change is in use there, {by_itself}"


def _message(result: Known) -> str:
    return str(result.get("msg") or "no answer").strip()


def _indented(text: str) -> str:
    return "\n    ".join(text.splitlines())
