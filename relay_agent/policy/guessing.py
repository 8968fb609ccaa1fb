# SPDX-License-Identifier: GPL-3.0-or-later
"""Slows the guessing of passwords, and shuts it out, for one account from one network.

The account belongs to the key so that one phone with an old password does not shut out its office, and the
network so that a stranger cannot lock somebody's account. Because of the account, the networks can be wide
(by default IPv4 /24, IPv6 /56): nobody else in them is touched.

What counts is *different* wrong passwords: a phone that repeats its old one for days is never shut out, and
somebody who repeats himself has not guessed. Names are treated alike whether an account has them or not.
"""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2b
from ipaddress import ip_address, ip_network
from typing import Any

from relay_agent.config.schema import Policy

__all__ = ["Guard", "ShutOutError", "Verdict", "network_of"]

_FREE = 3  # different wrong passwords that cost the shortest delay: people do mistype

_Key = tuple[bytes, str]


class ShutOutError(Exception):
    """This account takes no sign-in from this network for `seconds`."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"shut out for {seconds:.0f} s")
        self.seconds = seconds


@dataclass(slots=True, frozen=True)
class Verdict:
    """What a wrong password costs. delay: seconds until the answer. shut_out: seconds of a shut-out that begins
    now, else 0."""

    delay: float
    shut_out: float


@dataclass(slots=True)
class _Record:
    wrong: set[bytes] = field(default_factory=set)
    under_way: dict[bytes, int] = field(default_factory=dict)
    next_at: float = 0.0  # the next answer
    shut_until: float = 0.0
    times: int = 0  # shut out so far
    last: float = 0.0


def network_of(address: str, policy: Policy) -> str:
    """The network that an address is taken for; the address itself where it is none."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    parsed = getattr(parsed, "ipv4_mapped", None) or parsed
    bits = policy.guess_prefix_ipv4 if parsed.version == 4 else policy.guess_prefix_ipv6
    return str(ip_network((parsed, bits), strict=False))


class Guard:
    """The guesses so far.

    clock: seconds that never go back, the host's where processes share what they know. most: accounts and networks
    remembered at once; beyond, those are forgotten whose last guess is longest ago. tell: is given each guess and each
    pardon, JSON-ready, to pass it on to the `hear` of other processes.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        most: int = 20_000,
        tell: Callable[[list[str]], None] = lambda told: None,
    ) -> None:
        self._clock = clock
        self._most = most
        self._tell = tell
        self._secret = secrets.token_bytes(32)
        self._records: OrderedDict[_Key, _Record] = OrderedDict()

    def __len__(self) -> int:
        return len(self._records)

    def before(self, name: str, network: str, password: bytes, policy: Policy) -> float:
        """Ask before a password is checked. Returns the seconds to wait first; raises ShutOutError.

        Afterwards one of `failed`, `succeeded` and `dropped` has to follow.
        """
        now = self._clock()
        key = self._key(name, network)
        record = self._records.get(key)
        if record is None:
            record = self._records[key] = _Record(last=now)
            self._forget(now, policy)
        if record.shut_until > now:
            raise ShutOutError(record.shut_until - now)
        digest = self._digest(password)
        # Guesses that are being checked count as if they were wrong already: a hundred at once are a hundred.
        if len(record.wrong | record.under_way.keys() | {digest}) > policy.guesses:
            raise ShutOutError(max(1.0, policy.guess_delay_max))
        wait = max(0.0, record.next_at - now)
        if wait > policy.guess_delay_max:
            raise ShutOutError(wait)
        if wait:
            record.next_at += self._delay(record, policy)
        record.under_way[digest] = record.under_way.get(digest, 0) + 1
        return wait

    def failed(self, name: str, network: str, password: bytes, policy: Policy) -> Verdict:
        """The password was wrong."""
        key, digest = self._key(name, network), self._digest(password)
        if (record := self._records.get(key)) is not None:
            self._landed(record, digest)
        self._tell([key[0].hex(), network, digest.hex()])
        return self._count(key, digest, policy)

    def hear(self, told: list[str], policy: Policy) -> None:
        """Take what another process told."""
        name, network, digest = told
        key = bytes.fromhex(name), network
        if digest:
            self._count(key, bytes.fromhex(digest), policy)
        else:
            self._pardon(key)

    def _count(self, key: _Key, digest: bytes, policy: Policy) -> Verdict:
        now = self._clock()
        record = self._records.get(key)
        if record is None:  # forgotten meanwhile, or reset by a success
            record = self._records[key] = _Record()
        self._records.move_to_end(key)
        record.wrong.add(digest)
        record.last = now
        delay = self._delay(record, policy)
        record.next_at = max(record.next_at, now + delay)
        shut_out = 0.0
        if len(record.wrong) >= policy.guesses:
            shut_out = min(policy.shut_out * 2 ** min(record.times, 30), policy.shut_out_max)
            record.shut_until = now + shut_out
            record.times += 1
            record.wrong.clear()
        self._forget(now, policy)
        return Verdict(delay, shut_out)

    def succeeded(self, name: str, network: str) -> None:
        """The password was right: all is forgiven."""
        key = self._key(name, network)
        record = self._records.pop(key, None)
        if record is not None and (record.wrong or record.times):
            self._tell([key[0].hex(), network, ""])

    def _pardon(self, key: _Key) -> None:
        record = self._records.get(key)
        if record is not None and record.under_way:
            # Those are still to be answered, and count until then.
            self._records[key] = _Record(under_way=record.under_way, last=record.last)
        else:
            self._records.pop(key, None)

    def export(self) -> dict[str, Any]:
        """What other processes need to go on from here, JSON-ready."""
        records = [
            [name.hex(), network, [each.hex() for each in one.wrong], one.next_at, one.shut_until, one.times, one.last]
            for (name, network), one in self._records.items()
            if one.wrong or one.times
        ]
        return {"secret": self._secret.hex(), "records": records}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `export`."""
        self._secret = bytes.fromhex(state["secret"])
        for name, network, wrong, next_at, shut_until, times, last in state["records"]:
            self._records[bytes.fromhex(name), network] = _Record(
                {bytes.fromhex(each) for each in wrong}, {}, next_at, shut_until, times, last
            )

    def dropped(self, name: str, network: str, password: bytes) -> None:
        """The password was not checked after all."""
        record = self._records.get(self._key(name, network))
        if record is not None:
            self._landed(record, self._digest(password))

    @staticmethod
    def _landed(record: _Record, digest: bytes) -> None:
        count = record.under_way.pop(digest, 0)
        if count > 1:
            record.under_way[digest] = count - 1

    @staticmethod
    def _delay(record: _Record, policy: Policy) -> float:
        doubled = max(0, len(record.wrong) - _FREE) if not record.times else len(record.wrong)
        return float(min(policy.guess_delay * 2 ** min(doubled, 10), policy.guess_delay_max))

    def _forget(self, now: float, policy: Policy) -> None:
        """Drop records that no longer matter, from the oldest on, and the oldest when there are too many."""
        while self._records:
            key, record = next(iter(self._records.items()))
            expired = max(record.last + policy.shut_out_max, record.shut_until) < now and not record.under_way
            if not expired and len(self._records) <= self._most:
                return
            del self._records[key]

    def _key(self, name: str, network: str) -> _Key:
        return blake2b(name.encode("utf-8", "surrogatepass"), digest_size=16).digest(), network

    def _digest(self, password: bytes) -> bytes:
        """Not the password, and short: the set of them stays in memory."""
        return blake2b(password, key=self._secret, digest_size=8).digest()
