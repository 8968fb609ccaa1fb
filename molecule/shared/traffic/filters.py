# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of the packet filter ask the hosts, and what a run of the firewall alone says."""

from dataclasses import dataclass
from typing import Any

__all__ = ["FOREIGN", "OURS", "SHUT_OUT", "Played"]

OURS = "nft -a list table inet postroad"
SHUT_OUT = "nft list set inet postroad shut_out{}"
"""With 4 or 6 in the braces."""
FOREIGN = ("ip docker-like", "inet f2b-like")
"""The tables that others loaded, of molecule/firewall/files."""


@dataclass(frozen=True)
class Played:
    """A run of change.yml: exit status, what it printed, and the result of each host that failed."""

    status: int
    output: str
    failed: dict[str, dict[str, Any]]
    recap: dict[str, dict[str, int]]
