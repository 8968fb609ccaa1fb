# SPDX-License-Identifier: GPL-3.0-or-later
"""What the service that shuts addresses out is told: a JSON file of the operator's, written by the role."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any

__all__ = ["Settings", "SettingsError", "read_settings"]

Network = IPv4Network | IPv6Network

_HIGHEST = {"after_shut_outs": 1000, "after_accounts": 1000, "within": 30 * 86_400, "at_most": 30 * 86_400}


class SettingsError(ValueError):
    """The file cannot be used; the text names file, key and what is expected."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """When an address is shut out, and for how long.

    after_shut_outs: so many times the agent shut an account out from it. after_accounts: so many different accounts got
    a wrong password from it. within: seconds in which that has to be. at_most: seconds of the longest shut-out. never:
    addresses that are not, whatever they do.
    """

    after_shut_outs: int = 3
    after_accounts: int = 20
    within: int = 86_400
    at_most: int = 86_400
    never: tuple[Network, ...] = ()

    @classmethod
    def parsed(cls, values: Mapping[str, Any], source: str) -> Settings:
        """From JSON's types. Raises SettingsError."""
        unknown = set(values) - {field.name for field in fields(cls)}
        if unknown:
            raise SettingsError(f"{source}: unknown key {', '.join(sorted(unknown))}")
        numbers = {}
        for key, highest in _HIGHEST.items():
            value = values.get(key, getattr(cls, key))
            if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= highest:
                raise SettingsError(f"{source}: {key} is {value!r}, expected a number from 1 to {highest}")
            numbers[key] = value
        never = values.get("never", [])
        if not isinstance(never, list) or not all(isinstance(each, str) for each in never):
            raise SettingsError(f"{source}: never is {never!r}, expected a list of addresses and networks")
        try:
            return cls(never=tuple(ip_network(each) for each in never), **numbers)
        except ValueError as error:
            raise SettingsError(f"{source}: never: {error}") from None


def read_settings(path: Path) -> Settings:
    """The settings of a file. Raises SettingsError, and OSError when it cannot be read."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise SettingsError(f"{path}: not JSON: {error}") from None
    if not isinstance(values, dict):
        raise SettingsError(f"{path}: expected an object with the keys {', '.join(_HIGHEST)} and never")
    return Settings.parsed(values, str(path))
