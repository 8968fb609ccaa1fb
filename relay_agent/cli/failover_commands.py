# SPDX-License-Identifier: GPL-3.0-or-later
"""The arguments and the help of ``relay-agent failover``; what the commands do is in `failover`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from relay_agent.cli.commands import CommandFormatter, command, examples_text, json_option

__all__ = ["add_failover"]

_MODULE = "relay_agent.cli.failover"
_SETTINGS = Path("/etc/postroad-failover.toml")


def add_failover(commands: Any) -> None:
    """Add the command and its actions."""
    failover = commands.add_parser(
        "failover", help="the address list of the fleet's common name", formatter_class=CommandFormatter
    )
    failover.description = (
        "The relays of a fleet under one name: each watches the others, takes out of DNS who does not answer, and puts "
        "back who does. The service postroad-failover.service does so by itself, where dns.yml has set it up."
    )
    failover.epilog = examples_text(["relay-agent failover show", "relay-agent failover leave"])
    actions = failover.add_subparsers(title="commands", metavar="COMMAND", required=True)
    watch = command(
        actions,
        "watch",
        f"{_MODULE}:watch",
        "watch the others (what the service runs)",
        "Watch the others, and keep the address list, until told to end by a signal.",
        ["relay-agent failover watch"],
    )
    show = command(
        actions,
        "show",
        f"{_MODULE}:show",
        "who is in the list, and who answers",
        "Show for each relay whether its addresses are in the list, whether it is held out, and whether it answers "
        "this host now. Exit status 1 when one that is in the list does not answer, or one that answers is missing.",
        ["relay-agent failover show", "relay-agent failover show --json"],
    )
    leave = command(
        actions,
        "leave",
        f"{_MODULE}:leave",
        "take this relay out of the list until it joins again",
        "Take this relay out of the list, and wait until no resolver remembers it any more. Nobody puts it back until "
        "it joins again. The last one of the list stays in it.",
        ["relay-agent failover leave", "relay-agent failover leave --no-wait"],
    )
    leave.add_argument("--no-wait", action="store_true", help="do not wait until resolvers have forgotten it")
    join = command(
        actions,
        "join",
        f"{_MODULE}:join",
        "let this relay come back into the list",
        "Let this relay come back: the others put it into the list as soon as it answers them.",
        ["relay-agent failover join"],
    )
    for parser in (leave, join):
        parser.add_argument("--check", action="store_true", help="only say what would change")
    for parser in (watch, show, leave, join):
        parser.add_argument("--settings", type=Path, metavar="FILE", default=_SETTINGS, help="default: %(default)s")
        json_option(parser)
