# SPDX-License-Identifier: GPL-3.0-or-later
"""The arguments and the help of ``relay-agent suppression``; what the commands do is in `suppression`."""

from __future__ import annotations

from typing import Any

from relay_agent.cli.commands import CommandFormatter, command, config_option, examples_text, json_option

__all__ = ["add_suppression"]

_MODULE = "relay_agent.cli.suppression"


def add_suppression(commands: Any) -> None:
    """Add the command and its actions."""
    suppression = commands.add_parser(
        "suppression", help="recipients that are not to be written to again", formatter_class=CommandFormatter
    )
    suppression.description = (
        "Recipients that are not to be written to again: their host has said that there is no such mailbox, they have "
        "complained, or somebody has put them here. What becomes of mail to them is `suppression.mode` in the "
        "configuration. A change takes effect at once in a running agent."
    )
    suppression.epilog = examples_text(
        [
            "relay-agent suppression list",
            "relay-agent suppression show bob@example.org",
            "relay-agent suppression remove bob@example.org",
        ]
    )
    actions = suppression.add_subparsers(title="commands", metavar="COMMAND", required=True)

    listing = command(
        actions,
        "list",
        f"{_MODULE}:list_entries",
        "the entries, the latest last",
        "List the entries, the latest last. `counting` are those that have not bounced often enough yet.",
        ["relay-agent suppression list", "relay-agent suppression list --cause complaint --json"],
    )
    listing.add_argument("--limit", type=_count, default=1000, metavar="N", help="the last N; 0: all (%(default)s)")
    listing.add_argument("--cause", choices=("bounce", "complaint", "manual"), default="", help="only these")

    show = command(
        actions,
        "show",
        f"{_MODULE}:show",
        "why an address is here",
        "Tell why an address is on the list, since when, and for whom.",
        ["relay-agent suppression show bob@example.org"],
    )
    add = command(
        actions,
        "add",
        f"{_MODULE}:add",
        "put an address on the list",
        "Put an address on the list, for one account or the whole host, until it is removed.",
        [
            'relay-agent suppression add bob@example.org --reason "asked by phone"',
            "relay-agent suppression add bob@example.org --account newsletter",
        ],
    )
    add.add_argument("--reason", default="by its administrator's decision", help="for the one who is refused")
    remove = command(
        actions,
        "remove",
        f"{_MODULE}:remove",
        "take an address off the list",
        "Take an address off the list: for all, or for one account.",
        [
            "relay-agent suppression remove bob@example.org",
            "relay-agent suppression remove bob@example.org --account a",
        ],
    )
    for parser in (show, add, remove):
        parser.add_argument("address", metavar="ADDRESS")
    for parser in (add, remove):
        parser.add_argument("--account", metavar="NAME", help="only for this account")

    report = command(
        actions,
        "import-report",
        f"{_MODULE}:import_report",
        "take in a complaint (ARF)",
        "Read a complaint in the Abuse Reporting Format (RFC 5965) and put who complained on the list; for the pipe of "
        "a mail server that takes in the reports. Exit status 1 when it cannot be used, with the reason.",
        [
            "relay-agent suppression import-report complaint.eml",
            "relay-agent suppression import-report < complaint.eml",
            'fbl: "|/usr/local/bin/relay-agent suppression import-report"     # /etc/aliases of Postfix',
        ],
    )
    report.add_argument("file", metavar="FILE", nargs="?", default="-", help="default: standard input")
    for parser in (listing, show, add, remove, report):
        config_option(parser)
        json_option(parser)


def _count(text: str) -> int:
    number = int(text)
    if number < 0:
        raise ValueError
    return number
