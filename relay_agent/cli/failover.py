# SPDX-License-Identifier: GPL-3.0-or-later
"""``relay-agent failover``: the relays under one name, who is in its address list, and coming and going."""

from __future__ import annotations

import argparse
import time

from relay_agent.failover.address_list import AddressList, Listing
from relay_agent.failover.greeting import answers
from relay_agent.failover.settings import FailoverError, FailoverSettings, read_settings
from relay_agent.failover.watch import own_member, run
from relay_agent.observability.log import MailLog

from .terminal import complain, escape, print_json, style, table

__all__ = ["join", "leave", "show", "watch"]

_TRIES = 5


def watch(arguments: argparse.Namespace) -> int:
    """Watch until told to end; 2 for settings that are bad."""
    try:
        settings = read_settings(arguments.settings)
    except FailoverError as error:
        complain(str(error))
        return 2
    run(settings, MailLog())
    return 0


def show(arguments: argparse.Namespace) -> int:
    """Print a line for each address."""
    settings = read_settings(arguments.settings)
    listing = AddressList(settings).read()
    greeted = answers(settings)
    rows = [
        {
            "relay": member.name,
            "address": str(address),
            "listed": str(address) in listing.addresses,
            "held_out": member.name.lower() in listing.held,
            "answers": greeted[str(address)],
        }
        for member in settings.member
        for address in member.addresses
    ]
    good = all(row["held_out"] or row["listed"] == row["answers"] for row in rows)
    if arguments.json:
        print_json({"service": settings.service, "ttl": listing.ttl, "relays": rows})
        return 0 if good else 1
    lines = [
        (
            str(row["relay"]),
            str(row["address"]),
            "in the list" if row["listed"] else "held out (drained)" if row["held_out"] else style("out", "yellow"),
            "answers" if row["answers"] else style("does not answer", "red"),
        )
        for row in rows
    ]
    print(f"{escape(settings.service)}, remembered by resolvers for {listing.ttl} s")
    print(table(("relay", "address", "in DNS", "from here"), lines))
    return 0 if good else 1


def leave(arguments: argparse.Namespace) -> int:
    """Hold this relay out."""
    settings = read_settings(arguments.settings)
    addresses = AddressList(settings)
    mine = frozenset(map(str, own_member(settings).addresses))
    listing = addresses.read()
    changed = not _is_out(settings, listing, mine)
    if changed and not arguments.check:
        for _ in range(_TRIES):
            if addresses.hold(listing, settings.own, mine):
                break
            listing = addresses.read()
        else:
            raise FailoverError("the list was changed by others each time; try again")
        listing = addresses.read()
    last = sorted(mine & listing.addresses) if not arguments.check else []
    waits = listing.ttl if changed and not last and not arguments.no_wait and not arguments.check else 0
    if waits:
        time.sleep(waits)
    if arguments.json:
        print_json({"changed": changed, "waited": waits, "last": last})
    elif last:
        complain(f"{', '.join(last)}: the last of the list, and stays in it until another relay is there")
    else:
        print("this relay is held out" if changed else "this relay was held out already")
    return 0


def join(arguments: argparse.Namespace) -> int:
    """Hold this relay out no more."""
    settings = read_settings(arguments.settings)
    addresses = AddressList(settings)
    listing = addresses.read()
    changed = settings.own.lower() in listing.held
    if changed and not arguments.check:
        for _ in range(_TRIES):
            if addresses.release(listing, settings.own):
                break
            listing = addresses.read()
        else:
            raise FailoverError("the list was changed by others each time; try again")
    if arguments.json:
        print_json({"changed": changed})
    else:
        print("this relay comes back as soon as it answers" if changed else "this relay was not held out")
    return 0


def _is_out(settings: FailoverSettings, listing: Listing, mine: frozenset[str]) -> bool:
    """Whether it is held out and, as far as it can be, out of the list."""
    if settings.own.lower() not in listing.held:
        return False
    return all(not listing.found[kind].values & mine or listing.found[kind].values <= mine for kind in ("A", "AAAA"))
