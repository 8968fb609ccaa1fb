# SPDX-License-Identifier: GPL-3.0-or-later
"""The arguments and the help of ``relay-agent queue`` and ``relay-agent trace``."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any

from relay_agent.cli.commands import CommandFormatter, command, config_option, examples_text, json_option
from relay_agent.cli.moving_commands import add_moving

__all__ = ["add_queue", "add_trace"]

_MODULE = "relay_agent.cli.queue"
_FILTERS = ("destination", "account", "reason", "sender", "recipient", "older")
_OPERATE = "relay_agent.cli.operate"


def add_queue(commands: Any) -> None:
    """Add the command and its actions."""
    queue = commands.add_parser("queue", help="see and change the mail that waits", formatter_class=CommandFormatter)
    queue.description = "See and change the mail that waits. Works with the running agent, and without one."
    queue.epilog = examples_text(
        [
            "relay-agent queue list                            # where mail waits, and why",
            "relay-agent queue show ID                         # one message's story",
            "relay-agent queue retry --destination example.net",
            "relay-agent queue bounce --reason 'user unknown'  # shows the count and asks first",
        ]
    )
    actions = queue.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_looking(actions)
    _add_acting(actions)
    add_moving(actions)


def _add_looking(actions: Any) -> None:
    listing = command(
        actions,
        "list",
        f"{_MODULE}:list_messages",
        "where mail waits, why, how much and for how long",
        "Show the recipients that wait, grouped by destination and reason: how many, how many of them are held, how "
        "old the oldest is, and the next attempt. In a reason, * stands for what differs from one to the next. With "
        "--each, with queue ids, and with --json (unless --groups is given): each message by itself, oldest first, "
        "with the recipients that fit.",
        [
            "relay-agent queue list",
            "relay-agent queue list --destination example.net --each",
            "relay-agent queue list --older 12h --account alice",
            "relay-agent queue list --reason 'greylisted' --groups --json",
            "relay-agent queue list --limit 0 --json | jq ...",
        ],
    )
    listing.add_argument("ids", metavar="ID", nargs="*", default=[], help="queue ids")
    how = listing.add_mutually_exclusive_group()
    how.add_argument("--each", action="store_true", help="each message by itself")
    how.add_argument("--groups", action="store_true", help="by destination and reason, with --json, too")
    listing.add_argument(
        "--limit", type=_count, default=1000, metavar="N", help="at most N messages or groups; 0: all (%(default)s)"
    )
    _filters(listing)

    show = command(
        actions,
        "show",
        f"{_MODULE}:show",
        "one message's story",
        "Tell what became of a message so far, attempt by attempt as far as the history has them, and what comes next. "
        "Of a message that has left the queue, the history tells.",
        ["relay-agent queue show 01KAQ8Z0J7M5T2X"],
    )
    show.add_argument("id", metavar="ID", help="queue id, as in the log, in the 250 and in `queue list --each`")
    for parser in (listing, show):
        config_option(parser)
        json_option(parser)


def _add_acting(actions: Any) -> None:
    hold = command(
        actions,
        "hold",
        f"{_OPERATE}:hold",
        "stop delivering some mail until it is released",
        "Hold recipients: no attempt is made, until `release`. An attempt that is under way is not stopped. "
        "The time to give up goes on, and counts with the next attempt.",
        ["relay-agent queue hold 01KAQ8Z0J7M5T2X", "relay-agent queue hold --account newsletter"],
    )
    release = command(
        actions,
        "release",
        f"{_OPERATE}:release",
        "deliver held mail",
        "Release held recipients; they are due now.",
        ["relay-agent queue release 01KAQ8Z0J7M5T2X", "relay-agent queue release --all"],
    )
    retry = command(
        actions,
        "retry",
        f"{_OPERATE}:retry",
        "try mail now",
        "Make recipients due now instead of at their next attempt. Held ones stay held.",
        [
            "relay-agent queue retry 01KAQ8Z0J7M5T2X",
            "relay-agent queue retry --destination example.net",
            "relay-agent queue retry --all",
        ],
    )
    bounce = command(
        actions,
        "bounce",
        f"{_OPERATE}:bounce",
        "give mail back to its senders now",
        "Give up recipients: the sender gets the bounce that would come at the end of all attempts (status 5.4.7). A "
        "bounce is never bounced, it is removed. What is being delivered at this moment is left alone. On a terminal, "
        "the count is shown and a question asked.",
        [
            "relay-agent queue bounce 01KAQ8Z0J7M5T2X --because 'the address is wrong'",
            "relay-agent queue bounce --destination example.nte --yes",
        ],
    )
    bounce.add_argument(
        "--because", metavar="TEXT", default="", help="what to tell the senders; default: the last answer"
    )
    delete = command(
        actions,
        "delete",
        f"{_OPERATE}:delete",
        "remove mail without a bounce",
        "Remove mail: it is not delivered, and its senders are not told. With a selection, only the recipients that "
        "fit are removed, and a message with its last one. On a terminal, the count is shown and a question asked.",
        ["relay-agent queue delete 01KAQ8Z0J7M5T2X", "relay-agent queue delete --sender '' --older 1d"],
    )
    export = command(
        actions,
        "export",
        "relay_agent.cli.export:export",
        "copy mail into files",
        "Write messages as they are, ID.eml, with what the queue knows of each beside it, ID.json; into a directory, "
        "or as a tar archive to standard output. They stay in the queue.",
        [
            "relay-agent queue export 01KAQ8Z0J7M5T2X --to /root/mail",
            "relay-agent queue export --account alice --tar | ssh backup 'cat > alice.tar'",
        ],
    )
    where = export.add_mutually_exclusive_group(required=True)
    where.add_argument("--to", type=Path, metavar="DIRECTORY", help="made if it is not there")
    where.add_argument("--tar", action="store_true", help="a tar archive to standard output")
    for parser in (hold, release, retry, bounce, delete, export):
        parser.add_argument("ids", metavar="ID", nargs="*", default=[], help="queue ids")
        parser.add_argument("--all", action="store_true", help="everything in the queue")
        _filters(parser)
        config_option(parser)
        json_option(parser)
        parser.set_defaults(whole=partial(_check_which, parser))
    for parser in (bounce, delete):
        parser.add_argument("--yes", action="store_true", help="do not ask")


def add_trace(commands: Any) -> None:
    """Add the command."""
    trace = command(
        commands,
        "trace",
        "relay_agent.cli.trace:trace",
        "what became of a message, also after it left",
        "Find messages by queue id, message id, sender or recipient, and tell what happened to each, in order of time; "
        "the newest messages come last. The history goes back as far as [history] keeps it. Works with the running "
        "agent, and without one. Exit status 1 when nothing is found.",
        [
            "relay-agent trace 01KAQ8Z0J7M5T2X",
            "relay-agent trace '<20260424.1234@alpha.example>'",
            "relay-agent trace bob@example.net                 # as sender or recipient",
            "relay-agent trace --sender alice@example.org --recipient bob@example.net --since 2d",
        ],
    )
    trace.add_argument("what", metavar="WHAT", nargs="?", help="queue id, message id or address")
    trace.add_argument("--id", metavar="ID", help="queue id")
    trace.add_argument("--message-id", metavar="ID", help="the header's Message-ID")
    trace.add_argument("--sender", metavar="ADDRESS", help="of the envelope")
    trace.add_argument("--recipient", metavar="ADDRESS", help="of the envelope")
    trace.add_argument("--since", metavar="TIME", help="only messages of the last so long, as 12h or 2d")
    trace.add_argument(
        "--limit", type=_count, default=20, metavar="N", help="the newest N messages, up to 1000 (%(default)s)"
    )
    config_option(trace)
    json_option(trace)
    trace.set_defaults(whole=partial(_check_what, trace))


def _filters(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("which (all that is given has to fit)")
    group.add_argument("--destination", metavar="DOMAIN", help="the recipient's domain; *.example.org: those below")
    group.add_argument("--account", metavar="NAME", help="who signed in")
    group.add_argument("--reason", metavar="TEXT", help="a part of the last reason; * stands for anything")
    group.add_argument("--sender", metavar="ADDRESS", help="of the envelope; '' for bounces")
    group.add_argument("--recipient", metavar="ADDRESS")
    group.add_argument("--held", action="store_true", help="held ones only")
    group.add_argument("--older", metavar="TIME", help="that came longer ago than 90s, 30m, 12h, 5d")


def _check_which(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    chosen = arguments.held or any(getattr(arguments, key) is not None for key in _FILTERS)
    if not (chosen or arguments.ids or arguments.all):
        parser.error("say which: queue ids, a selection such as --destination example.net, or --all")
    if arguments.all and (chosen or arguments.ids):
        parser.error("--all does not go with queue ids or a selection")


def _check_what(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    if not any((arguments.what, arguments.id, arguments.message_id, arguments.sender, arguments.recipient)):
        parser.error("say what to look for: a queue id, a message id, or an address")


def _count(text: str) -> int:
    number = int(text)
    if number < 0:
        raise ValueError
    return number
