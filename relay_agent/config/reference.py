# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes docs/configuration.md from the schema: ``python -m relay_agent.config.reference > docs/configuration.md``."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from .explain import model_of
from .schema import Config, parse_duration

__all__ = ["reference"]

_INTRODUCTION = """\
# The configuration file

<!-- Written by `python -m relay_agent.config.reference`; change the schema, not this file. -->

The agent reads one TOML file, `/etc/postroad/agent.toml` unless told otherwise. The playbooks write it; this page
is for reading it, and for running an agent without them.

- `relay-agent check-config FILE` names every problem in it, and exits with 2. An agent does not start with a bad file.
- A key that is not listed here is an error, not a guess.
- A duration is text such as `"90s"`, `"1h30m"` or `"5d"` (`ms`, `s`, `m`, `h`, `d`, `w`), or a number of seconds.
- `systemctl reload relay-agent` takes up every change, the accounts, the certificate and a new release, and no session
  ends by it. Only `[queue]` and `[control]` take a restart.

The smallest useful file:

```toml
hostname = "relay.example.org"

[[listener]]
port = 587
tls = "starttls"

[[listener]]
port = 465
tls = "implicit"

[tls]
certificate = "/etc/postroad/tls/fullchain.pem"
key = "/etc/postroad/tls/privkey.pem"
```
"""
_UNITS = (("w", 604_800), ("d", 86_400), ("h", 3600), ("m", 60), ("s", 1))


def reference() -> str:
    """The page, in Markdown."""
    top = {name: field for name, field in Config.model_fields.items() if model_of(field.annotation)[0] is None}
    parts = [_INTRODUCTION, "## At the top\n", _table(top)]
    for name, field in Config.model_fields.items():
        parts += _section(name, field)
    return "\n".join(parts)


def _section(name: str, field: FieldInfo) -> Iterator[str]:
    model, is_list = model_of(field.annotation)
    if model is None:
        return
    yield f"## `{f'[[{name}]]' if is_list else f'[{name}]'}`\n"
    yield f"{field.description}{' May be given several times.' if is_list else ''}\n"
    yield _table(model.model_fields)
    for inner_name, inner in model.model_fields.items():
        inner_model, _ = model_of(inner.annotation)
        if inner_model is not None:
            yield f"### Each of `{name}.{inner_name}`\n"
            yield _table(inner_model.model_fields)


def _table(fields: dict[str, FieldInfo]) -> str:
    rows = ["| key | value | default | meaning |", "|---|---|---|---|"]
    for name, field in fields.items():
        meaning = (field.description or "").replace("|", "\\|")
        rows.append(f"| `{name}` | {_kind(field)} | {_default(field)} | {meaning} |")
    return "\n".join(rows) + "\n"


def _kind(field: FieldInfo) -> str:
    """What may stand there, in words."""
    if any(getattr(each, "func", None) is parse_duration for each in field.metadata):
        lowest = _bound(field.metadata, "ge")
        return "duration" if lowest is None else f"duration, at least {_spell(lowest)}"
    return _kind_of(field.annotation, field.metadata)


def _kind_of(annotation: Any, metadata: list[Any]) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " or ".join(f'`"{choice}"`' for choice in arguments)
    if hasattr(annotation, "__metadata__"):  # Annotated: what is inside, with what is said about it
        return _kind_of(arguments[0], [*metadata, *annotation.__metadata__])
    if origin is tuple:
        return f"list of {_plural(arguments[0])}"
    chosen = [argument for argument in arguments if argument is not type(None)]
    if chosen:
        return _kind_of(chosen[0], metadata)
    if annotation is bool:
        return "true or false"
    if annotation is int:
        low, high = _bound(metadata, "ge"), _bound(metadata, "le")
        if low is not None and high is not None:
            return f"number, {low} to {high}"
        return "number" if low is None else f"number, at least {low}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "table"
    return "path" if annotation is Path else "text"


def _plural(annotation: Any) -> str:
    if model_of(annotation)[0] is not None:
        return "tables"
    names = {getattr(choice, "__name__", "") for choice in get_args(annotation)}
    return "networks" if "IPv4Network" in names else "texts"


def _bound(metadata: list[Any], which: str) -> Any:
    """A limit, wherever the schema's annotations carry it."""
    for each in metadata:
        found = _bound(each.metadata, which) if isinstance(each, FieldInfo) else getattr(each, which, None)
        if found is not None:
            return found
    return None


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    default = field.get_default(call_default_factory=False)
    if default is None or default is PydanticUndefined:
        return "none"
    if any(getattr(each, "func", None) is parse_duration for each in field.metadata):
        return f'`"{_spell(default)}"`'
    if isinstance(default, tuple):
        return f"`{json.dumps(list(default))}`"
    return f"`{json.dumps(default if isinstance(default, int) else str(default))}`"


def _spell(seconds: float) -> str:
    """A duration in its largest whole unit; weeks only from two on ("5d" reads better than "0.7w")."""
    for unit, length in _UNITS:
        if seconds >= length and seconds % length == 0 and (unit != "w" or seconds >= 2 * length):
            return f"{seconds / length:.0f}{unit}"
    return f"{seconds:g}s" if seconds >= 1 or not seconds else f"{seconds * 1000:g}ms"


if __name__ == "__main__":
    sys.stdout.write(reference())
