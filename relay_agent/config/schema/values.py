# SPDX-License-Identifier: GPL-3.0-or-later
"""The kinds of values in the configuration file, and what every section has in common."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, IPvAnyAddress

__all__ = [
    "Duration",
    "HopTls",
    "Host",
    "Hostname",
    "ListenerTls",
    "MxTls",
    "Port",
    "Resolver",
    "Section",
    "parse_duration",
    "parse_resolver",
]

_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|[smhdw]))+", re.ASCII)
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhdw])", re.ASCII)
_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)", re.ASCII)


def parse_duration(value: object) -> float:
    """Seconds of a duration such as ``"200ms"``, ``"90s"``, ``"1h30m"`` or ``"5d"``; a bare number is seconds.

    Raises ``ValueError`` for anything else.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        if value < 0:
            raise ValueError("a duration cannot be negative")
        return float(value)
    if isinstance(value, str) and _DURATION.fullmatch(value):
        return float(sum(float(number) * _UNITS[unit] for number, unit in _DURATION_PART.findall(value)))
    raise ValueError('expected a duration such as "90s", "30m", "12h" or "5d"')


def _hostname(value: object) -> object:
    if isinstance(value, str):
        name = value.rstrip(".")
        if not name or len(name) > 253 or not all(_LABEL.fullmatch(label) for label in name.split(".")):
            raise ValueError("expected a host name such as relay.example.org")
        return name
    return value


def _host(value: object) -> object:
    """A host name or an address literal."""
    if isinstance(value, str) and ":" in value:
        IPvAnyAddress(value)  # type: ignore[operator]
        return value
    return _hostname(value)


def parse_resolver(value: str) -> tuple[str, int]:
    """Address and port of a resolver written as ``192.0.2.1``, ``192.0.2.1:5353`` or ``[2001:db8::1]:53``."""
    match = re.fullmatch(r"\[([0-9a-fA-F:.]+)\](?::(\d{1,5}))?|([0-9.]+)(?::(\d{1,5}))?|([0-9a-fA-F:]+)", value)
    if match is None:
        raise ValueError("expected an address such as 127.0.0.1, 127.0.0.1:5353 or [::1]:53")
    address = match[1] or match[3] or match[5]
    port = int(match[2] or match[4] or 53)
    try:
        IPvAnyAddress(address)  # type: ignore[operator]
    except ValueError:
        raise ValueError(f"{address} is not an IP address") from None
    if not 0 < port < 65536:
        raise ValueError(f"{port} is not a port (1 to 65535)")
    return address, port


def _resolver(value: object) -> object:
    if isinstance(value, str):
        parse_resolver(value)
    return value


Duration = Annotated[float, BeforeValidator(parse_duration)]
Hostname = Annotated[str, BeforeValidator(_hostname)]
Host = Annotated[str, BeforeValidator(_host)]
Resolver = Annotated[str, BeforeValidator(_resolver)]
Port = Annotated[int, Field(ge=1, le=65535, strict=True)]
HopTls = Literal["starttls", "implicit", "none"]
MxTls = Literal["opportunistic", "required", "verified"]
ListenerTls = Literal["starttls", "implicit", "auto", "none"]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
