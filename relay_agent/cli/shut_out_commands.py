# SPDX-License-Identifier: GPL-3.0-or-later
"""The parsers of ``relay-agent shut-out``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from relay_agent.cli.commands import CommandFormatter, command, examples_text, json_option

__all__ = ["add_shut_out"]

_STATE = Path("/var/lib/postroad-shut-out/active.json")
_SETTINGS = Path("/etc/postroad-shut-out.json")
_SOCKET = Path("/run/postroad-shut-out/notices")


def add_shut_out(commands: Any) -> None:
    """Add the commands."""
    group = commands.add_parser(
        "shut-out", help="addresses that the packet filter keeps out for guessing", formatter_class=CommandFormatter
    )
    group.description = "See and change which addresses the packet filter keeps from the submission ports."
    group.epilog = examples_text(["relay-agent shut-out list", "relay-agent shut-out release 198.51.100.7"])
    actions = group.add_subparsers(title="commands", metavar="COMMAND", required=True)
    module = "relay_agent.cli.shut_out"
    listing = command(
        actions,
        "list",
        f"{module}:list_addresses",
        "the addresses",
        "List the addresses that are shut out, an IPv6 /64 by its first one, and until when.",
        ["relay-agent shut-out list", "relay-agent shut-out list --json"],
    )
    json_option(listing)
    releasing = command(
        actions,
        "release",
        f"{module}:release",
        "let an address in again",
        "Let an address in again at once, and forget what it did. The agent's guard of an account is another thing.",
        ["relay-agent shut-out release 198.51.100.7", "relay-agent shut-out release 2001:db8:1:2::"],
    )
    releasing.add_argument("address", metavar="ADDRESS")
    releasing.add_argument("--socket", type=Path, default=_SOCKET, metavar="FILE", help="default: %(default)s")
    running = command(
        actions,
        "run",
        f"{module}:run",
        "the service itself (systemd runs it)",
        "Take the agent's notices from the socket that systemd hands over, and keep the packet filter's sets.",
        ["relay-agent shut-out run --settings /etc/postroad-shut-out.json"],
    )
    running.add_argument("--settings", type=Path, default=_SETTINGS, metavar="FILE", help="default: %(default)s")
    for parser in (listing, running):
        parser.add_argument("--state", type=Path, default=_STATE, metavar="FILE", help="default: %(default)s")
