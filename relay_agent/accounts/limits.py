# SPDX-License-Identifier: GPL-3.0-or-later
"""What an account's entry may set in place of the configuration's `[policy]`."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

__all__ = ["NO_LIMITS", "AccountLimits", "parse_limits"]

_LARGEST = 2**53


@dataclass(slots=True, frozen=True)
class AccountLimits:
    """Each None: as in `[policy]`. Each 0: no limit. `message_size` is in bytes. The priorities an account may give its
    messages are those of RFC 6710, -9 to 9."""

    messages_per_hour: int | None = None
    messages_burst: int | None = None
    recipients_per_hour: int | None = None
    recipients_burst: int | None = None
    message_size: int | None = None
    sessions: int | None = None
    priority_highest: int | None = None
    priority_lowest: int | None = None

    def given(self) -> dict[str, int]:
        """Those that are set."""
        values = ((field.name, getattr(self, field.name)) for field in fields(self))
        return {name: value for name, value in values if value is not None}


NO_LIMITS = AccountLimits()
_NAMES = tuple(field.name for field in fields(AccountLimits))


def parse_limits(table: Any) -> AccountLimits:
    """The limits of a decoded table. Raises ValueError naming the key."""
    if not isinstance(table, dict):
        raise ValueError("limits is not a table such as { messages_per_hour = 100 }")
    for key, value in table.items():
        if key not in _NAMES:
            raise ValueError(f"limits.{key} is not a known limit (expected {', '.join(_NAMES)})")
        if key.startswith("priority_"):
            if not isinstance(value, int) or isinstance(value, bool) or not -9 <= value <= 9:
                raise ValueError(f"limits.{key} is not a whole number from -9 to 9")
            continue
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _LARGEST:
            raise ValueError(f"limits.{key} is not a whole number, 0 (no limit) or more")
    return AccountLimits(**table)
