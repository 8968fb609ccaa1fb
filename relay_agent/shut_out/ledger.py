# SPDX-License-Identifier: GPL-3.0-or-later
"""Which addresses are shut out, and until when: what was noticed of each, and what follows. No input, no output.

An address is one of IPv4, or an IPv6 /64, which is what one home or office has at the least. Everything that comes in
is taken for hostile: addresses are parsed, not matched, and whatever grows has a bound.
"""

from __future__ import annotations

import json
import re
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address

from relay_agent.shut_out.settings import Settings

__all__ = ["Address", "Ledger", "Notice", "NoticeError", "Release", "address_of", "parse_notice"]

Address = IPv4Address | IPv6Address

_NOTICE_BYTES = 1024
_ACCOUNT = re.compile(r"[0-9a-f]{16}")
_FIRST = 900  # seconds, for one that tried many accounts and was shut out from none yet


class NoticeError(ValueError):
    """Not a notice of the agent's; the text says why."""


@dataclass(frozen=True, slots=True)
class Notice:
    """A wrong password. account: a hash. shut_out: seconds for which the agent takes no more for it, or 0."""

    peer: Address
    account: str
    shut_out: int


@dataclass(frozen=True, slots=True)
class Release:
    """The operator lets an address in again."""

    peer: Address


@dataclass(slots=True)
class _Record:
    shut_outs: deque[float]
    accounts: OrderedDict[str, float] = field(default_factory=OrderedDict)
    times: int = 0  # shut out by us so far
    last: float = 0.0


def address_of(text: object) -> Address:
    """What is shut out for an address: itself, or the first of its IPv6 /64. Raises NoticeError.

    Loopback, link-local, multicast and unspecified addresses are nobody's to be shut out.
    """
    if not isinstance(text, str) or len(text) > 64:
        raise NoticeError("the address is no text, or too long")
    try:
        parsed = ip_address(text)
    except ValueError:
        raise NoticeError("not an address") from None
    if isinstance(parsed, IPv6Address):
        if parsed.scope_id is not None:
            raise NoticeError("an address with a scope")
        parsed = parsed.ipv4_mapped or parsed
    if parsed.is_loopback or parsed.is_link_local or parsed.is_multicast or parsed.is_unspecified:
        raise NoticeError("not the address of another host")
    if isinstance(parsed, IPv6Address):
        return IPv6Address(int(parsed) >> 64 << 64)
    return parsed


def parse_notice(datagram: bytes) -> Notice | Release:
    """Read what came over the socket. Raises NoticeError."""
    if len(datagram) > _NOTICE_BYTES:
        raise NoticeError("too long")
    try:
        values = json.loads(datagram)
    except (ValueError, RecursionError):
        raise NoticeError("not JSON") from None
    if not isinstance(values, dict):
        raise NoticeError("not an object")
    if values.keys() == {"release"}:
        return Release(address_of(values["release"]))
    if values.keys() != {"peer", "account", "shut_out"}:
        raise NoticeError("other keys than peer, account and shut_out")
    account, seconds = values["account"], values["shut_out"]
    if not isinstance(account, str) or not _ACCOUNT.fullmatch(account):
        raise NoticeError("the account is no hash")
    if not isinstance(seconds, int) or isinstance(seconds, bool) or not 0 <= seconds < 1 << 32:
        raise NoticeError("shut_out is no number of seconds")
    return Notice(address_of(values["peer"]), account, seconds)


class Ledger:
    """What is known. Times are seconds of a clock that the caller gives, one that goes on over a reboot.

    most: addresses remembered at once, and shut out at once. Beyond, those remembered are forgotten whose last notice
    is longest ago, and no further one is shut out: the agent has its own guard.
    """

    def __init__(self, settings: Settings, *, most: int = 10_000) -> None:
        self._settings = settings
        self._most = most
        self._records: OrderedDict[Address, _Record] = OrderedDict()
        self._until: dict[Address, float] = {}

    def __len__(self) -> int:
        return len(self._records)

    def active(self, now: float) -> dict[Address, float]:
        """The addresses that are shut out, with the seconds that are left, of which there is at least one."""
        for address in [each for each, until in self._until.items() if until - now < 1]:
            del self._until[address]
        return {address: until - now for address, until in self._until.items()}

    def restore(self, until: dict[Address, float], now: float) -> None:
        """Go on with what an earlier process had, as far as the settings still have it so."""
        for address, moment in until.items():
            if len(self._until) < self._most and not self.spared(address):
                self._until[address] = min(moment, now + self._settings.at_most)

    def export(self) -> dict[str, float]:
        """Until when each address is shut out, JSON-ready."""
        return {str(address): until for address, until in self._until.items()}

    def spared(self, address: Address) -> bool:
        """Whether it is never shut out. A /64 is spared as soon as a part of it is."""
        for network in self._settings.never:
            if network.version != address.version:
                continue
            if address in network:
                return True
            if isinstance(address, IPv6Address) and int(network.network_address) >> 64 == int(address) >> 64:
                return True
        return False

    def release(self, address: Address) -> bool:
        """Let it in again and forget what it did; whether it was shut out."""
        self._records.pop(address, None)
        return self._until.pop(address, None) is not None

    def notice(self, notice: Notice, now: float) -> int:
        """Take a notice; returns for how many seconds its address is shut out from now on, 0 when it is not."""
        address, settings = notice.peer, self._settings
        if self.spared(address):
            return 0
        record = self._records.get(address)
        if record is None:
            record = self._records[address] = _Record(deque(maxlen=settings.after_shut_outs))
        self._records.move_to_end(address)
        record.last = now
        if notice.shut_out:
            record.shut_outs.append(now)
        record.accounts[notice.account] = now
        record.accounts.move_to_end(notice.account)
        if len(record.accounts) > settings.after_accounts:
            record.accounts.popitem(last=False)
        self._forget(now)
        since = now - settings.within
        repeated = len(record.shut_outs) == settings.after_shut_outs and record.shut_outs[0] > since
        oldest = next(iter(record.accounts.values()))
        spread = len(record.accounts) == settings.after_accounts and oldest > since
        if not (repeated or spread) or (address not in self._until and len(self._until) >= self._most):
            return 0
        seconds = min(max(notice.shut_out, _FIRST) << min(record.times, 16), settings.at_most)
        record.times += 1
        # What it did is paid for; the next time costs twice as much.
        record.shut_outs.clear()
        record.accounts.clear()
        self._until[address] = max(self._until.get(address, 0.0), now + seconds)
        return seconds

    def _forget(self, now: float) -> None:
        while self._records:
            address, record = next(iter(self._records.items()))
            # Longer than `within`, so that the one who comes back after a shut-out is known again.
            known_until = record.last + 2 * max(self._settings.within, self._settings.at_most)
            if known_until > now and len(self._records) <= self._most:
                return
            del self._records[address]
