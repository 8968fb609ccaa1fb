# SPDX-License-Identifier: GPL-3.0-or-later
"""The arguments and the help of ``relay-agent probe``; what it does is in `probe`."""

from __future__ import annotations

import argparse
import re
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from relay_agent.cli.commands import command, json_option

__all__ = ["add_probe"]

_NAME = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")


def add_probe(commands: Any) -> None:
    """Add the command."""
    parser = command(
        commands,
        "probe",
        "relay_agent.cli.probe:probe",
        "what this network lets through to a relay",
        "Try every port of a relay from here, at most ten seconds, and say for each what became of it: open, dropped, "
        "refused, answered by somebody else, encryption taken out, a certificate that is not the relay's. Ends with "
        "the setting for your mail program. It runs where you are, not on the relay, needs no root, and signs in "
        "nowhere. Exit status 0: mail can be sent from here by every HOST; 1: not by every one, or a name that is not "
        "found; 2: the command line or the file of authorities is bad; 130: interrupted.",
        [
            "relay-agent probe relay.example.org",
            "relay-agent probe relay1.example.org relay2.example.org",
            "relay-agent probe relay.example.org --ca authority.pem",
            "relay-agent probe relay.example.org --port 465 --port 587 --json",
        ],
    )
    parser.add_argument(
        "host",
        type=_host,
        metavar="HOST",
        nargs="+",
        help="the relay's name, as in the mail program; several, one by one",
    )
    parser.add_argument("--ca", type=Path, metavar="FILE", help="authorities to trust besides this system's (PEM)")
    parser.add_argument(
        "--port", type=_port, action="append", default=[], metavar="N", help="only this port; may be given again"
    )
    parser.add_argument("--all", action="store_true", help="show ports that the relay does not have, too")
    parser.add_argument(
        "--known",
        type=Path,
        metavar="FILE",
        help="where relays' keys are remembered (default: in this user's own directory for such data)",
    )
    parser.add_argument("--forget", action="store_true", help="go without what was remembered of this relay")
    json_option(parser)


def _host(text: str) -> str:
    """The name as the DNS has it. Raises ArgumentTypeError with what to write instead."""
    name = text.strip().rstrip(".")
    if name.startswith("[") and name.endswith("]"):
        name = name[1:-1]
    with suppress(ValueError):
        return str(ip_address(name))
    problem = f"{text!r} is not the name of a host"
    if "://" in name or "/" in name:
        raise argparse.ArgumentTypeError(f"{problem}: give the name alone, such as relay.example.org")
    if "@" in name:
        raise argparse.ArgumentTypeError(
            f"{problem} but a mail address: give the relay's name, such as relay.example.org"
        )
    host, colon, port = name.rpartition(":")
    if colon and port.isdigit():
        raise argparse.ArgumentTypeError(f"{problem}: give the port by itself: {host} --port {port}")
    try:
        ascii_name = name.encode("idna").decode("ascii")
    except UnicodeError:
        ascii_name = ""
    if not _NAME.fullmatch(ascii_name) or len(ascii_name) > 253:
        raise argparse.ArgumentTypeError(f"{problem}, such as relay.example.org")
    return ascii_name


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 65536:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: expected a number from 1 to 65535")
    return int(text)
