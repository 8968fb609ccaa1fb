# SPDX-License-Identifier: GPL-3.0-or-later
"""The arguments and the help of ``relay-agent probe``; what it does is in `probe`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from relay_agent.cli.commands import command, json_option

__all__ = ["add_probe"]


def add_probe(commands: Any) -> None:
    """Add the command."""
    parser = command(
        commands,
        "probe",
        "relay_agent.cli.probe:probe",
        "what this network lets through to a relay",
        "Try every port of a relay from here, at most ten seconds, and say for each what became of it: open, dropped, "
        "refused, answered by somebody else, encryption taken out, a certificate that is not the relay's. Ends with "
        "the setting for your mail program. It runs where you are, not on the relay, and signs in nowhere. Exit "
        "status 0: mail can be sent from here; 1: not.",
        [
            "relay-agent probe relay.example.org",
            "relay-agent probe relay.example.org --ca authority.pem",
            "relay-agent probe relay.example.org --port 465 --port 587 --json",
        ],
    )
    parser.add_argument("host", type=_host, metavar="HOST", help="the relay's name, as in the mail program")
    parser.add_argument("--ca", type=Path, metavar="FILE", help="authorities to trust besides this system's (PEM)")
    parser.add_argument(
        "--port", type=_port, action="append", default=[], metavar="N", help="only this port; may be given again"
    )
    parser.add_argument("--all", action="store_true", help="show ports that the relay does not have, too")
    parser.add_argument("--known", type=Path, metavar="FILE", help="where relays' keys are remembered")
    parser.add_argument("--forget", action="store_true", help="go without what was remembered of this relay")
    json_option(parser)


def _host(text: str) -> str:
    name = text.strip().rstrip(".")
    if not name or len(name) > 253 or any(letter.isspace() or letter in "/@" for letter in name):
        raise argparse.ArgumentTypeError(f"{text!r} is not the name of a host")
    return name


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 65536:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: expected a number from 1 to 65535")
    return int(text)
