# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes TOML (https://toml.io/en/v1.0.0): Python's standard library can only read it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

__all__ = ["dump_toml"]

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)


def dump_toml(document: Mapping[str, object]) -> str:
    """The document as TOML: plain values first, then a table or an array of tables for each nested one.

    Takes str, int, float, bool, list and dict; whatever is below a table's own values is written inline.
    Raises ValueError for anything else, None included.
    """
    plain: list[str] = []
    blocks: list[str] = []
    for key, value in document.items():
        if isinstance(value, Mapping):
            blocks.append(_table(f"[{_key(key)}]", value))
        elif isinstance(value, list) and value and all(isinstance(item, Mapping) for item in value):
            blocks.extend(_table(f"[[{_key(key)}]]", item) for item in value)
        else:
            plain.append(f"{_key(key)} = {_value(value)}\n")
    return "\n".join(part for part in ["".join(plain), *blocks] if part)


def _table(header: str, table: Mapping[str, object]) -> str:
    return header + "\n" + "".join(f"{_key(key)} = {_value(value)}\n" for key, value in table.items())


def _key(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else _string(key)


def _string(text: str) -> str:
    # JSON's escapes are a part of TOML's, except that TOML forbids DEL unescaped.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _value(value: object) -> str:
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list):
        return "[" + ", ".join(_value(item) for item in value) + "]"
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(key)} = {_value(item)}" for key, item in value.items()) + " }"
    raise ValueError(f"{type(value).__name__} has no form in TOML")
