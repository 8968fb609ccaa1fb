# SPDX-License-Identifier: GPL-3.0-or-later
"""Turn the schema's findings into words for the person who wrote the file."""

from __future__ import annotations

import types
import typing
from collections.abc import Sequence
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ValidationError

from .schema import Config

__all__ = ["explain", "key_of", "model_of", "shown"]

_MAX_PROBLEMS = 100
_KINDS = {
    "string_type": "text in quotes",
    "string_sub_type": "text in quotes",
    "path_type": "a path in quotes",
    "int_type": "a whole number, without quotes",
    "int_parsing": "a whole number, without quotes",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "tuple_type": "a list: [...]",
    "ip_any_address": "an IP address such as 192.0.2.1 or 2001:db8::1",
}


def explain(error: ValidationError, document: Any) -> list[tuple[str, str]]:
    """Key and problem of each finding, in the order of the file's schema, each fault once."""
    problems: dict[tuple[str, str], None] = {}
    for detail in error.errors(include_url=False):
        location = _location(detail["loc"], document)
        # A list whose items are all faulty is reported as empty, too: the items are what is wrong.
        if detail["type"] == "too_short" and len(detail["input"]) >= detail["ctx"]["min_length"]:
            continue
        if detail["type"] == "ip_any_address" and isinstance(detail["input"], dict):
            # Found by the listener's own check, which sees the whole table.
            location, detail["input"] = (*location, "address"), detail["input"].get("address")
        problems[key_of(location), _words(dict(detail), location)] = None
        if len(problems) == _MAX_PROBLEMS:
            problems["", f"more than {_MAX_PROBLEMS} problems; these are the first"] = None
            break
    return list(problems)


def key_of(location: Sequence[str | int]) -> str:
    """`listener[1].port` for ("listener", 1, "port"); the first of a list has the number 0."""
    key = ""
    for part in location:
        if isinstance(part, int):
            key += f"[{part}]"
        else:
            name = part if part.replace("-", "_").isidentifier() and part.isascii() else shown(part)
            key += f".{name}" if key else name
    return key


def shown(value: object) -> str:
    """A value as it may stand in a message: TOML's spelling, short, nothing that a terminal would act on."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        text = value if len(value) <= 60 else value[:57] + "..."
        escaped = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
        return '"' + escaped.replace('"', '\\"') + '"'
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    text = ascii(value) if not isinstance(value, int | float) else f"{value:.15g}" if isinstance(value, float) else ""
    return text or (str(value) if abs(typing.cast(int, value)) < 10**30 else "a number of many digits")


def _location(parts: Sequence[str | int], document: Any) -> tuple[str | int, ...]:
    """The location without the parts that name a choice of the schema and not a place in the file."""
    location: list[str | int] = []
    place = document
    for part in parts:
        if isinstance(place, list) and isinstance(part, int) and part < len(place):
            place = place[part]
        elif isinstance(place, dict):
            place = place.get(part) if isinstance(part, str) else None
        else:
            break
        location.append(part)
    return tuple(location)


def _words(detail: dict[str, Any], location: tuple[str | int, ...]) -> str:
    kind, value, context = detail["type"], detail["input"], detail.get("ctx", {})
    name = location[-1] if location else ""
    if kind == "missing":
        return f"is missing{_expected(_description(location))}"
    if kind == "extra_forbidden":
        return _unknown_key(location)
    if kind == "value_error":
        reason = str(context["error"])
        if isinstance(value, dict | list) or reason.startswith(shown(value).strip('"')):
            return reason
        if reason.startswith("expected "):
            return f"{shown(value)} is not valid ({reason})"
        return f"{shown(value)}: {reason}"
    if isinstance(name, str) and name.endswith("port"):
        return f"{shown(value)} is not a port (expected a whole number from 1 to 65535, without quotes)"
    if kind in ("greater_than_equal", "greater_than"):
        return f"{shown(value)} is too small (expected at least {shown(context.get('ge', context.get('gt')))})"
    if kind in ("less_than_equal", "less_than"):
        return f"{shown(value)} is too large (expected at most {shown(context.get('le', context.get('lt')))})"
    if kind == "literal_error":
        return f"{shown(value)} is not a choice here (expected {context['expected'].replace(chr(39), chr(34))})"
    if kind in ("too_short", "string_too_short"):
        return f"is empty{_expected(_description(location))}"
    if kind in ("model_type", "dict_type", "model_attributes_type"):
        return f"{shown(value)} is not a table (expected {_table(location)})"
    if kind in ("ip_v4_network", "ip_v6_network"):
        return f"{shown(value)} is not a network{_network_hint(value)}"
    if kind in _KINDS:
        return f"{shown(value)} is not valid (expected {_KINDS[kind]})"
    return f"{shown(value)} is not valid ({detail['msg'][:1].lower()}{detail['msg'][1:]})"


def _expected(description: str) -> str:
    return f" (expected: {description.rstrip('.')})" if description else ""


def _network_hint(value: object) -> str:
    import ipaddress

    if isinstance(value, str):
        try:
            network = ipaddress.ip_network(value, strict=False)
        except ValueError:
            pass
        else:
            return f": it has bits set behind the prefix (expected {network})"
    return " (expected e.g. 192.0.2.0/24 or 2001:db8::/32)"


def _table(location: tuple[str | int, ...]) -> str:
    """How the table at this place is written."""
    names = [part for part in location if isinstance(part, str)]
    if len(names) > 1:
        return "{ key = value, ... }"
    return f"[[{names[0]}]]" if isinstance(location[-1], int) else f"[{names[0]}]"


def _unknown_key(location: tuple[str | int, ...]) -> str:
    import difflib  # here: every process of an agent loads this module, and none of them a misspelt key

    model = _model_at(location[:-1])
    known = sorted(model.model_fields) if model else []
    near = difflib.get_close_matches(str(location[-1]).lower(), known, n=1, cutoff=0.6)
    if near:
        return f'is not a known key; did you mean "{near[0]}"?'
    elsewhere = [section for section, keys in _sections().items() if location[-1] in keys]
    if elsewhere:
        return f"is not a known key here; it belongs in {elsewhere[0]}"
    return f"is not a known key (expected one of: {', '.join(known)})"


def _sections() -> dict[str, frozenset[str]]:
    """Which keys each section at the top has."""
    sections = {}
    for name, field in Config.model_fields.items():
        model, is_list = model_of(field.annotation)
        if model is not None:
            sections[f"[[{name}]]" if is_list else f"[{name}]"] = frozenset(model.model_fields)
    return sections


def _description(location: tuple[str | int, ...]) -> str:
    model = _model_at(location[:-1])
    field = model.model_fields.get(str(location[-1])) if model and location else None
    return (field.description or "") if field else ""


def _model_at(location: Sequence[str | int]) -> type[BaseModel] | None:
    """The schema of the table at this place."""
    model: type[BaseModel] | None = Config
    for part in location:
        if isinstance(part, str):
            field = model.model_fields.get(part) if model else None
            model = model_of(field.annotation)[0] if field else None
    return model


def model_of(annotation: Any) -> tuple[type[BaseModel] | None, bool]:
    """The table that a field holds, and whether it holds a list of them."""
    if isinstance(annotation, type) and not get_args(annotation) and issubclass(annotation, BaseModel):
        return annotation, False
    if get_origin(annotation) is Literal:
        return None, False
    is_list = get_origin(annotation) is tuple
    for argument in get_args(annotation):
        if isinstance(argument, types.EllipsisType):
            continue
        model, _ = model_of(argument)
        if model is not None:
            return model, is_list
    return None, False
