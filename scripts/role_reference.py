# SPDX-License-Identifier: GPL-3.0-or-later
"""The page docs/roles.md, from every role's meta/argument_specs.yml."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from streaming import ROOT

__all__ = ["roles_page"]

HEAD = """\
<!-- Generated from roles/*/meta/argument_specs.yml by `make docs`. Edit those. -->
# Roles and their variables

A misspelt key inside a variable is refused before any host is touched.
"""


def roles_page(roles: Path = ROOT / "roles") -> str:
    """All roles in the order of their names, as Markdown."""
    parts = [HEAD]
    for specs in sorted(roles.glob("*/meta/argument_specs.yml")):
        role = specs.parent.parent.name
        entry = yaml.safe_load(specs.read_text(encoding="utf-8"))["argument_specs"]["main"]
        parts.append("\n".join(_role(role, entry)))
    return "\n".join(parts)


def _role(name: str, entry: Mapping[str, Any]) -> Iterator[str]:
    yield f"## `{name}`\n"
    yield f"{entry['short_description']}.\n"
    yield from (f"{sentence}\n" for sentence in _sentences(entry.get("description", [])))
    for variable, option in entry.get("options", {}).items():
        yield f"### `{variable}`\n"
        yield f"{_traits(option)}\n"
        yield from (f"{sentence}\n" for sentence in _sentences(option.get("description", [])))
        if rows := list(_nested(option.get("options", {}))):
            yield "| key | type | default | meaning |"
            yield "| --- | --- | --- | --- |"
            yield from rows
            yield ""


def _nested(options: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """One row for each key, keys of nested dictionaries after their own in the form `via[].host`."""
    for key, option in options.items():
        name = f"{prefix}{key}"
        kind = _kind(option)
        meaning = " ".join(_sentences(option.get("description", [])))
        if choices := option.get("choices"):
            meaning += f" One of {', '.join(f'`{_word(choice)}`' for choice in choices)}."
        default = "required" if option.get("required") else _default(option)
        yield f"| `{name}` | {kind} | {default} | {meaning.replace('|', chr(92) + '|')} |"
        joint = "[]." if option.get("type") == "list" else "."
        yield from _nested(option.get("options", {}), f"{name}{joint}")


def _kind(option: Mapping[str, Any]) -> str:
    kind = str(option.get("type", "str"))
    return f"list of {option['elements']}" if kind == "list" and "elements" in option else kind


def _default(option: Mapping[str, Any]) -> str:
    if "default" not in option:
        return ""
    value = option["default"]
    text = _word(value)
    return f"`{text}`" if text else '`""`'


def _word(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _traits(option: Mapping[str, Any]) -> str:
    traits = [_kind(option)]
    if option.get("required"):
        traits.append("required")
    elif "default" in option:
        traits.append(f"default {_default(option)}")
    if choices := option.get("choices"):
        traits.append(f"one of {', '.join(f'`{_word(choice)}`' for choice in choices)}")
    return f"*{'; '.join(traits)}*"


def _sentences(description: str | list[str]) -> list[str]:
    """Ansible's markup in the form of Markdown: V(x), O(x), C(x) as code, M(x) and I(x) plain."""
    lines = [description] if isinstance(description, str) else description
    return [re.sub(r"\b[VOCER]+\(([^)]*(?:\([^)]*\)[^)]*)*)\)", r"`\1`", _plain(line)) for line in lines]


def _plain(line: str) -> str:
    return re.sub(r"\b[MIB]\(([^)]*)\)", r"\1", line)
