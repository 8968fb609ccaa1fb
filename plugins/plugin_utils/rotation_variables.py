# SPDX-License-Identifier: GPL-3.0-or-later
"""The variables of the playbooks that rotate keys: what there are, and what is wrong with those that were given."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.postroad.relay.plugins.plugin_utils.inventory_check import spec_problems

__all__ = ["PLAYBOOKS", "chosen_values", "misspelt"]

DKIM: dict[str, Any] = {
    "domain": {"type": "str", "required": True, "description": "the domain whose keys are changed"},
    "selector": {"type": "str", "default": ""},
    "algorithm": {"type": "str", "choices": ["both", "rsa", "ed25519"], "default": "both"},
    "after_days": {"type": "float", "default": 30.0},
    "keep_days": {"type": "float"},
}
CA: dict[str, Any] = {
    "stage": {"type": "str", "choices": ["status", "prepare", "switch", "finish", "cancel"], "default": "status"},
    "wait_days": {"type": "float", "default": 14.0},
}
PLAYBOOKS: dict[str, dict[str, Any]] = {"rotate_dkim": DKIM, "rotate_ca": CA}
"""For each playbook its options; a variable is called `<playbook>_<option>`."""

_NEAR = 0.85


def misspelt(names: Iterable[str]) -> list[str]:
    """A problem for each variable that looks like one of these playbooks' and is none."""
    known = sorted(f"{playbook}_{option}" for playbook, options in PLAYBOOKS.items() for option in options)
    problems = []
    for name in sorted(set(names) - set(known)):
        if name.startswith("_"):
            continue
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.6 if name.startswith("rotate_") else _NEAR)
        if near or name.startswith("rotate_"):
            hint = f"did you mean {near[0]}?" if near else f"there is no such variable (there are {', '.join(known)})"
            problems.append(f"{name}: {hint}")
    return problems


def chosen_values(playbook: str, given: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The options of a playbook with defaults and types, and what does not fit. given: variables by full name."""
    prefix = f"{playbook}_"
    values = {name.removeprefix(prefix): value for name, value in given.items() if name.startswith(prefix)}
    converted, problems = spec_problems(values, PLAYBOOKS[playbook])
    for name, value in converted.items():
        if isinstance(value, float) and value < 0:
            problems.append(f"{name}: {value:g} is less than 0")
    domain = converted.get("domain")
    if domain is not None:
        try:
            converted["domain"] = domain.rstrip(".").encode("idna").decode("ascii").lower()
        except UnicodeError:
            problems.append(f"domain: {domain!r} is not a domain")
    return converted, [prefix + problem for problem in problems]
