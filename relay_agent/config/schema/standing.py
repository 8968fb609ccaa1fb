# SPDX-License-Identifier: GPL-3.0-or-later
"""What keeps the relay in good standing: whom it no longer writes to, and where it is listed."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Literal

from pydantic import Field

from relay_agent.config.schema.values import Duration, Hostname, Section

__all__ = ["Reputation", "Suppression"]


class Suppression(Section):
    """Recipients that are not to be written to again: their host has said for good that there is no such mailbox, or
    they have complained."""

    mode: Literal["off", "warn", "refuse"] = Field(
        default="off",
        description="What becomes of mail to them: `off` (nothing is learned, nobody is refused), `warn` (taken, with "
        "a line in the log and a count) or `refuse` (550 at RCPT, with the reason and how to lift it).",
    )
    scope: Literal["account", "host"] = Field(
        default="account",
        description="Whether what one account has met holds for that `account` alone or for the whole `host`.",
    )
    after: int = Field(
        default=1,
        ge=1,
        le=100,
        description="How many hard bounces it takes; a complaint or an entry by hand is enough.",
    )
    within: Duration = Field(
        default=1_209_600.0, ge=60, description="The time in which that many bounces have to come, `14d` by default."
    )
    keep: Duration = Field(
        default=15_552_000.0,
        ge=0,
        description="How long an entry holds after its last cause, `180d` by default; 0: until it is removed. Those "
        "made by hand hold until they are removed.",
    )
    max_entries: int = Field(
        default=50_000,
        ge=100,
        le=1_000_000,
        description="Entries kept; beyond, the oldest go. Each takes about half a kilobyte in every worker.",
    )
    file: Path | None = Field(
        default=None,
        description="The file of the entries, where the agent may write; by default `suppression.jsonl` in "
        "`queue.directory`.",
    )
    report_address: str = Field(
        default="",
        pattern=r"^([A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9.-]{1,253})?$",
        description="Mail to this address is read as a complaint (ARF, RFC 5965) and goes nowhere else. It is taken "
        "from `submission.trusted_networks` and `report_accounts`: let the MX of that address hand it over.",
    )
    report_accounts: tuple[str, ...] = Field(
        default=(), description="Accounts that may hand over reports; others could speak for people they do not know."
    )


class Reputation(Section):
    """Whether our addresses are on DNS block lists (RFC 5782), asked at intervals."""

    lists: tuple[Hostname, ...] = Field(
        default=(),
        max_length=20,
        description='Zones of the lists, e.g. `["zen.spamhaus.org"]`; empty: nothing is asked. Lists have terms of '
        "use, and most answer no public resolvers: ask by a resolver of your own (`delivery.resolvers`).",
    )
    addresses: tuple[IPv4Address | IPv6Address, ...] = Field(
        default=(),
        max_length=16,
        description="Our addresses as other hosts see them; empty: those that this host sends from by its routes or, "
        "where these are private, the public ones that `hostname` has in DNS.",
    )
    every: Duration = Field(default=3600.0, ge=300, description="Time between two rounds, give or take a tenth.")
