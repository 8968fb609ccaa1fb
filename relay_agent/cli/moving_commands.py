# SPDX-License-Identifier: GPL-3.0-or-later
"""The arguments and the help of the commands that move a queue as a whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from relay_agent.cli.commands import command, config_option, json_option

__all__ = ["add_moving"]

_MODULE = "relay_agent.cli.moving"


def add_moving(actions: Any) -> None:
    """Add the actions of `relay-agent queue`."""
    count = command(
        actions,
        "count",
        f"{_MODULE}:count",
        "how much waits",
        "Say how many messages wait, how many recipients are held, and how much mail is being handed over to another "
        "host.",
        ["relay-agent queue count --json"],
    )
    pack = command(
        actions,
        "pack",
        f"{_MODULE}:pack",
        "write the whole queue into one file",
        "Write all that waits into a file that `unpack` understands: the mail, its envelopes and options, when it "
        "came, what was tried. By itself that is a copy, and the agent goes on meanwhile. With --leave it is the mail "
        "itself: the agent has to be stopped, and does not have it any more when it is started again. Until "
        "`handed-over` it is kept aside here, and another `pack --leave` writes it again.",
        ["relay-agent queue pack --to /root/queue.tar", "relay-agent queue pack --leave --to /root/queue.tar"],
    )
    pack.add_argument("--to", type=Path, metavar="FILE", required=True, help="written anew, for its owner only")
    pack.add_argument("--leave", action="store_true", help="the mail itself, not a copy")
    unpack = command(
        actions,
        "unpack",
        f"{_MODULE}:unpack",
        "take the mail of such a file into this queue",
        "Take mail in; a running agent delivers it from then on. A file that was taken in here before is not taken in "
        "again, nor is a message that waits in this queue already. Two hosts that take the same file in both deliver "
        "it.",
        ["relay-agent queue unpack /root/queue.tar"],
    )
    unpack.add_argument("file", type=Path, metavar="FILE")
    over = command(
        actions,
        "handed-over",
        f"{_MODULE}:handed_over",
        "remove what another host has taken in",
        "Remove mail that `pack --leave` kept aside, once another host has taken it in; by the names that `pack` gave "
        "its parts with --json.",
        ["relay-agent queue handed-over 06A7PZ3K0QXV1M2"],
    )
    over.add_argument("entries", metavar="ENTRY", nargs="+")
    down = command(
        actions,
        "downgrade",
        f"{_MODULE}:downgrade",
        "make the queue one that an earlier release opens",
        "Bring the queue's databases to the schema of an earlier release, with the agent stopped. When this release is "
        "started again, it brings them back to its own.",
        ["relay-agent queue downgrade --schema 1"],
    )
    down.add_argument("--schema", type=int, metavar="N", required=True, help="that release's schema, as it names it")
    for parser in (count, pack, unpack, over, down):
        config_option(parser)
        json_option(parser)
