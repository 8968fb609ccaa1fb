# SPDX-License-Identifier: GPL-3.0-or-later
"""Signing mail, by the domain of its From (DKIM)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, StringConstraints

from relay_agent.config.schema.values import Duration, Hostname, Section

__all__ = ["Dkim", "DkimKey"]

_SELECTOR = r"^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*$"
Selector = Annotated[str, StringConstraints(pattern=_SELECTOR, max_length=120)]


class DkimKey(Section):
    """A key that is kept elsewhere than in the directory, such as in an inventory's vault. It is always active."""

    domain: Hostname = Field(description="The domain that it signs for.")
    selector: Selector = Field(description="Its selector: the record is at `SELECTOR._domainkey.DOMAIN`.")
    file: Path = Field(description="PEM file with the private key, RSA (2048 to 4096 bits) or Ed25519.")


class Dkim(Section):
    """Signatures (DKIM, RFC 6376 and 8463): a message is signed by the active keys of the domain of its From."""

    directory: Path = Field(
        default=Path("/etc/postroad/dkim"),
        description="Directory of the keys, kept by `relay-agent dkim`. Without keys nothing is signed.",
    )
    domains: tuple[Hostname, ...] = Field(
        default=(), description="Sign for these domains only; empty: for every domain that has an active key."
    )
    subdomains: bool = Field(
        default=True,
        description="Sign mail from a domain without keys of its own by those of the nearest domain above it, which "
        "DMARC takes for aligned (unless the domain's record says `adkim=s`).",
    )
    expire_after: Duration = Field(
        default=0.0,
        ge=0,
        description="After how long a signature says of itself that it is void (`x=`); 0: never. Not less than mail "
        "may be on its way: `delivery.retry_for` and `submission.max_hold`.",
    )
    key: tuple[DkimKey, ...] = Field(
        default=(), description="Keys in files elsewhere; of a domain they come before those in the directory."
    )
