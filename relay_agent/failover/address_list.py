# SPDX-License-Identifier: GPL-3.0-or-later
"""The address list of the common name, and beside it the names of the relays that are held out of it.

Held out is who is in a TXT record at `_drained` below the common name: `relay-agent failover leave` writes it, and no
watcher puts such a relay back. Every change is made under the condition that all of it is still as it was read.
"""

from __future__ import annotations

import ipaddress
import json
from dataclasses import dataclass

from relay_agent.failover.settings import FailoverError, FailoverSettings
from relay_agent.name_server import Answer, Change, NameServer, NameServerError, TsigKey, canonical

__all__ = ["AddressList", "Listing", "kind_of", "server_of"]

_KINDS = ("A", "AAAA")


def kind_of(address: str) -> str:
    """The type of the record that an address is in."""
    return "AAAA" if ipaddress.ip_address(address).version == 6 else "A"


@dataclass(frozen=True, slots=True)
class Listing:
    """What the name server has."""

    found: dict[str, Answer]

    @property
    def addresses(self) -> frozenset[str]:
        """Those in the list, of both families."""
        return frozenset(value for kind in _KINDS for value in self.found[kind].values)

    @property
    def held(self) -> frozenset[str]:
        """The names of the relays that are held out."""
        return frozenset(_unquoted(value).rstrip(".").lower() for value in self.found["TXT"].values)

    @property
    def ttl(self) -> int:
        """Seconds that a resolver may remember the list."""
        return max(self.found[kind].ttl for kind in _KINDS)


class AddressList:
    """All methods raise FailoverError when the name server cannot be asked or refuses."""

    def __init__(self, settings: FailoverSettings, server: NameServer | None = None) -> None:
        self._settings = settings
        self._server = server or server_of(settings)
        self._owners = {
            "A": f"{settings.service}.",
            "AAAA": f"{settings.service}.",
            "TXT": f"_drained.{settings.service}.",
        }

    def read(self) -> Listing:
        """Ask."""
        try:
            return Listing({kind: self._server.ask(owner, kind) for kind, owner in self._owners.items()})
        except NameServerError as error:
            raise FailoverError(str(error)) from None

    def withdraw(self, listing: Listing, address: str) -> bool:
        """Take an address out; False when the list is not as it was read. The last one of a family stays."""
        kind = kind_of(address)
        if listing.found[kind].values <= {address}:
            return False
        return self._change(listing, {kind: (frozenset(), frozenset({address}))})

    def restore(self, listing: Listing, address: str) -> bool:
        """Put an address in; False when the list is not as it was read."""
        return self._change(listing, {kind_of(address): (frozenset({address}), frozenset())})

    def hold(self, listing: Listing, name: str, addresses: frozenset[str]) -> bool:
        """Hold a relay out, and take out those of its addresses that are not the last ones of their family."""
        changes = {"TXT": (frozenset({_quoted(name)}), frozenset[str]())}
        for kind in _KINDS:
            there = listing.found[kind].values
            mine = there & addresses
            if mine and there - mine:
                changes[kind] = (frozenset(), mine)
        return self._change(listing, changes)

    def release(self, listing: Listing, name: str) -> bool:
        """Hold a relay out no more."""
        marks = frozenset(value for value in listing.found["TXT"].values if _names(value, name))
        return self._change(listing, {"TXT": (frozenset(), marks)})

    def _change(self, listing: Listing, changes: dict[str, tuple[frozenset[str], frozenset[str]]]) -> bool:
        # The families are independent of each other; who is held out matters to every change.
        nothing: tuple[frozenset[str], frozenset[str]] = (frozenset(), frozenset())
        planned = []
        for kind, owner in self._owners.items():
            if kind in changes or kind == "TXT":
                add, remove = changes.get(kind, nothing)
                planned.append(Change(owner, kind, add, remove, self._settings.dns.ttl, listing.found[kind]))
        try:
            return self._server.update(self._settings.dns.zone, planned)
        except NameServerError as error:
            raise FailoverError(str(error)) from None


def server_of(settings: FailoverSettings) -> NameServer:
    """The server of the settings."""
    access = settings.dns
    key = TsigKey(access.key_name, access.key_secret, access.key_algorithm)
    return NameServer(access.server, access.port, key)


def _quoted(name: str) -> str:
    return canonical("TXT", json.dumps(name.lower()))


def _unquoted(value: str) -> str:
    return value.strip('"')


def _names(value: str, name: str) -> bool:
    return _unquoted(value).rstrip(".").lower() == name.rstrip(".").lower()
