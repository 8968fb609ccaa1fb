# SPDX-License-Identifier: GPL-3.0-or-later
"""One recipient that is not to be written to, and the line that it is in the file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from relay_agent.delivery.reply import printable
from relay_agent.policy.senders import address_parts

__all__ = ["EVERYBODY", "LONGEST_REASON", "NETWORK", "Cause", "Entry", "Gone", "fold", "parse_change"]

EVERYBODY = ""  # owner of an entry that holds for the whole host
NETWORK = "trusted network"  # owner where nobody has signed in; no account has a space in its name
LONGEST_REASON = 200  # characters; it goes into an SMTP reply
_LONGEST_NAME = 512


class Cause(StrEnum):
    """Why."""

    BOUNCE = "bounce"
    COMPLAINT = "complaint"
    MANUAL = "manual"


@dataclass(slots=True, frozen=True)
class Entry:
    """address: in the form of `fold`. owner: the account that has met it, NETWORK or EVERYBODY. reason: in words.

    first, last: of the bounces or complaints, seconds since the epoch; count: how many. active: whether that is enough.
    sender: of the mail that it was about, "" where that is not known.
    """

    address: str
    owner: str
    cause: Cause
    reason: str
    first: float
    last: float
    count: int = 1
    active: bool = True
    sender: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """What there is one entry of."""
        return self.address, self.owner

    def record(self) -> dict[str, Any]:
        """JSON-ready; `parse_change` reads it."""
        return {**asdict(self), "cause": str(self.cause)}


@dataclass(slots=True, frozen=True)
class Gone:
    """An entry was removed."""

    address: str
    owner: str

    @property
    def key(self) -> tuple[str, str]:
        """Of the entry."""
        return self.address, self.owner

    def record(self) -> dict[str, Any]:
        """JSON-ready; `parse_change` reads it."""
        return {"address": self.address, "owner": self.owner, "removed": True}


def fold(address: str) -> str:
    """The form in which recipients are compared: lower-case, unquoted, the domain in A-labels.

    Hosts that tell upper from lower case before the @ are unheard of; a mailbox that is gone is gone in any spelling.
    Returns "" for what is no address.
    """
    if address.isascii() and '"' not in address and "[" not in address and len(address) <= _LONGEST_NAME:
        local, at, domain = address.rpartition("@")
        return f"{local}@{domain.rstrip('.')}".lower() if at and local and domain else ""
    parts = address_parts(address)
    return "" if parts is None else f"{parts[0]}@{parts[1]}"


def parse_change(record: Mapping[str, Any]) -> Entry | Gone:
    """What `record` has made of an entry or its removal. Raises ValueError for anything else."""
    try:
        address, owner = record["address"], record["owner"]
        if not isinstance(address, str) or not isinstance(owner, str) or fold(address) != address or not address:
            raise ValueError("no address or owner")
        if len(owner) > _LONGEST_NAME:
            raise ValueError("an owner that is too long")
        if record.get("removed") is True:
            return Gone(address, owner)
        return Entry(
            address,
            owner,
            Cause(record["cause"]),
            printable(str(record["reason"]), LONGEST_REASON),
            float(record["first"]),
            float(record["last"]),
            int(record["count"]),
            record["active"] is True,
            str(record["sender"])[:_LONGEST_NAME],
        )
    except (KeyError, TypeError, OverflowError) as error:
        raise ValueError(f"not an entry: {error}") from None
