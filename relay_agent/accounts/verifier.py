# SPDX-License-Identifier: GPL-3.0-or-later
"""Check sign-ins off the event loop, with bounded work and the same time whatever the outcome."""

from __future__ import annotations

import asyncio
import secrets
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import blake2b

from .hashing import DUMMY_HASH, cost_of, dummy_hash, prepare_password, verify_password
from .store import Account, normalise_name

__all__ = ["Verifier", "VerifierBusyError"]


class VerifierBusyError(Exception):
    """Too many sign-ins wait already: answer 454 4.7.0, the client comes again (RFC 4954 4.4)."""


@dataclass(slots=True, frozen=True)
class _Remembered:
    digest: bytes
    until: float
    account: Account


class Verifier:
    """Whether a name and a password belong together.

    A hash takes about 16 ms of a core and 19 MiB, so `threads` bounds the memory and `max_waiting` the wait
    (300 checks are some 3 s of two cores). A success is remembered for `remember` seconds under a digest keyed
    with a secret of this process, so that a program that connects for each message pays once.
    """

    def __init__(
        self,
        accounts: Mapping[str, Account] | None = None,
        *,
        threads: int = 2,
        max_waiting: int = 300,
        remember: float = 300.0,
    ) -> None:
        self._accounts = dict(accounts or {})
        self._pool = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="sign-in")
        self._limit = threads + max_waiting
        self._remember = remember
        self._key = secrets.token_bytes(32)
        self._scram_ready = _all_have_scram(self._accounts)
        self._costs = _costs(self._accounts)
        self._remembered: dict[str, _Remembered] = {}  # one each account: bounded by their number
        self._running: dict[bytes, asyncio.Future[bool]] = {}

    def __len__(self) -> int:
        return len(self._accounts)

    def account(self, name: str) -> Account | None:
        """The account of this normalised name as it is now, unless it is disabled."""
        account = self._accounts.get(name)
        return None if account is None or account.disabled else account

    @property
    def accounts(self) -> Mapping[str, Account]:
        """All accounts by normalised name, disabled ones too."""
        return self._accounts

    @property
    def scram_ready(self) -> bool:
        """Whether everybody who may sign in can do so by SCRAM; if not, offering it would lock some out, because
        mail programs prefer it and do not fall back."""
        return self._scram_ready

    async def verify(self, name: str, password: bytes) -> Account | None:
        """The account, or None: unknown, disabled and wrong password are not told apart, and take as long.

        Raises ``VerifierBusyError`` when too many wait.
        """
        try:
            name = normalise_name(name)
        except ValueError:
            name = ""  # no account has it; hashed all the same, for the time it takes
        password = prepare_password(password)
        digest = self._digest(name, password)
        account = self._accounts.get(name)
        remembered = self._remembered.get(name)
        if (
            remembered is not None
            and account is remembered.account
            and remembered.until > time.monotonic()
            and secrets.compare_digest(remembered.digest, digest)
        ):
            return account
        hashed = self._dummy(name) if account is None else account.hash
        fits = await self._check(digest, hashed, password)
        if self._accounts.get(name) is not account:  # changed while we hashed: ask the new one
            return await self.verify(name, password)
        if account is None or not fits or account.disabled:
            return None
        self._remembered[name] = _Remembered(digest, time.monotonic() + self._remember, account)
        return account

    def reload(self, accounts: Mapping[str, Account]) -> None:
        """Take other accounts. What is remembered of an account that changed or went is forgotten."""
        # Equal accounts keep their identity, which is what the remembered sign-ins are tied to.
        old = self._accounts
        self._accounts = {
            name: old[name] if old.get(name) == account else account for name, account in accounts.items()
        }
        self._scram_ready = _all_have_scram(self._accounts)
        self._costs = _costs(self._accounts)
        self._remembered = {
            name: remembered
            for name, remembered in self._remembered.items()
            if self._accounts.get(name) is remembered.account
        }

    def close(self) -> None:
        """Start no further checks; those waiting are cancelled."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _check(self, digest: bytes, hashed: str, password: bytes) -> bool:
        """Hash in the pool; sessions that ask the same at the same time share one answer."""
        key = digest + hashed.encode()
        running = self._running.get(key)
        if running is None:
            if len(self._running) >= self._limit:
                raise VerifierBusyError
            loop = asyncio.get_running_loop()
            running = loop.run_in_executor(self._pool, verify_password, hashed, password)
            self._running[key] = running
            running.add_done_callback(lambda _: self._running.pop(key, None))
        return await asyncio.shield(running)  # a session that hangs up must not cancel the others' answer

    def _dummy(self, name: str) -> str:
        """What is hashed for a name without an account: as dear as the hash of one of the accounts, always the same
        for the name. Hashes that came from elsewhere can cost another time than ours."""
        number = int.from_bytes(self._digest(name, b"")[:8], "big")
        return dummy_hash(self._costs[number % len(self._costs)])

    def _digest(self, name: str, password: bytes) -> bytes:
        encoded = name.encode("utf-8", "surrogatepass")
        return blake2b(len(encoded).to_bytes(4, "big") + encoded + password, key=self._key, digest_size=32).digest()


def _costs(accounts: Mapping[str, Account]) -> list[str]:
    """What the accounts' hashes cost, each as often as it occurs; that of ours when there are none."""
    return [sys.intern(cost_of(account.hash)) for account in accounts.values()] or [cost_of(DUMMY_HASH)]


def _all_have_scram(accounts: Mapping[str, Account]) -> bool:
    return bool(accounts) and all(account.scram or account.disabled for account in accounts.values())
