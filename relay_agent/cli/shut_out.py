# SPDX-License-Identifier: GPL-3.0-or-later
"""``relay-agent shut-out``: addresses that the packet filter keeps from the submission ports."""

from __future__ import annotations

import argparse
import json
import socket
import time
from datetime import UTC, datetime

from relay_agent.cli.terminal import complain, print_json
from relay_agent.observability.log import MailLog
from relay_agent.shut_out.ledger import Ledger, NoticeError, address_of
from relay_agent.shut_out.service import Keeper, inherited_socket, read_state
from relay_agent.shut_out.settings import SettingsError, read_settings

__all__ = ["list_addresses", "release", "run"]


def run(arguments: argparse.Namespace) -> int:
    """Take notices until told to end; 2 for settings that are bad."""
    try:
        settings = read_settings(arguments.settings)
    except SettingsError as error:
        complain(str(error))
        return 2
    Keeper(inherited_socket(), Ledger(settings), arguments.state, MailLog()).run()
    return 0


def list_addresses(arguments: argparse.Namespace) -> int:
    """Print each address and until when it is shut out."""
    now = time.time()
    found = sorted((until, str(address)) for address, until in read_state(arguments.state).items() if until > now)
    if arguments.json:
        print_json([{"address": address, "until": until, "seconds": round(until - now)} for until, address in found])
        return 0
    for until, address in found:
        print(f"{address}  until {datetime.fromtimestamp(until, UTC).astimezone():%Y-%m-%d %H:%M:%S}")
    if not found:
        print("no address is shut out")
    return 0


def release(arguments: argparse.Namespace) -> int:
    """Ask the service to let an address in again; 1 for what is none."""
    try:
        address = address_of(arguments.address)
    except NoticeError as error:
        complain(f"{arguments.address}: {error}")
        return 1
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        try:
            channel.sendto(json.dumps({"release": str(address)}).encode(), str(arguments.socket))
        except (FileNotFoundError, ConnectionRefusedError):
            complain(f"{arguments.socket}: nobody is there; postroad-shut-out.socket keeps it")
            return 1
    print(f"{address} is let in again")
    return 0
