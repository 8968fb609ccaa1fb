# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring the file of accounts to a wanted list, changing only what differs.

A hash is salted, so hashing a wanted password anew would always differ: a hash that the password fits is kept.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .hashing import check_hash, hash_password, verify_password
from .limits import NO_LIMITS, AccountLimits, parse_limits
from .scram import check_scram, make_scram
from .store import Account, edit_accounts, load_accounts, normalise_name, parse_addresses

__all__ = ["SyncResult", "WantedAccount", "parse_wanted", "sync_accounts"]

_WANTED_KEYS = ("name", "password", "hash", "scram", "disabled", "addresses", "limits")


@dataclass(slots=True, frozen=True)
class WantedAccount:
    """An account as the inventory has it: with a password or with its hash (and SCRAM keys), not both."""

    name: str
    password: str | None = None
    hash: str | None = None
    disabled: bool = False
    addresses: tuple[str, ...] = ()
    limits: AccountLimits = NO_LIMITS
    scram: str = ""

    def __post_init__(self) -> None:
        if (self.password is None) == (self.hash is None):
            raise ValueError("expected either password or hash")
        if self.scram and self.hash is None:
            raise ValueError("expected scram only beside hash")

    def __repr__(self) -> str:
        return f"WantedAccount({self.name!r})"  # a password must not reach a log by way of a traceback


@dataclass(slots=True, frozen=True)
class SyncResult:
    """What differed, by name."""

    added: tuple[str, ...] = ()
    updated: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    new_file: bool = False

    @property
    def changed(self) -> bool:
        """Whether anything differed."""
        return bool(self.added or self.updated or self.removed or self.new_file)


def parse_wanted(document: Any) -> list[WantedAccount]:
    """The wanted accounts out of decoded JSON: a list of ``{name, password | hash, scram, disabled, addresses,
    limits}``.

    Raises ``ValueError`` naming every bad entry, and no password.
    """
    if not isinstance(document, list):
        raise ValueError('expected a list such as [{"name": "alice", "password": "..."}]')
    wanted: list[WantedAccount] = []
    problems: list[str] = []
    seen: set[str] = set()
    for index, entry in enumerate(document):
        try:
            account = _wanted(entry)
            if account.name in seen:
                raise ValueError(f"{account.name} is there twice (names are compared without regard to case)")
            seen.add(account.name)
            wanted.append(account)
        except ValueError as error:
            problems.append(f"account[{index}]: {error}")
    if problems:
        raise ValueError("\n".join(problems))
    return wanted


def sync_accounts(
    path: Path, wanted: Iterable[WantedAccount], *, check: bool = False, keep_others: bool = False
) -> SyncResult:
    """Make the file hold exactly these accounts (``keep_others``: at least these); ``check`` only compares.

    Idempotent: a second call changes nothing, not even the file's time. Raises ``AccountsError`` for a file
    with faults, ``ValueError`` for a password that cannot be used.
    """
    wanted = list(wanted)
    new_file = not path.exists()
    if check:
        result = _apply({} if new_file else load_accounts(path), wanted, keep_others=keep_others)
    else:
        with edit_accounts(path) as accounts:
            result = _apply(accounts, wanted, keep_others=keep_others)
    return replace(result, new_file=new_file)


def _apply(accounts: dict[str, Account], wanted: Sequence[WantedAccount], *, keep_others: bool) -> SyncResult:
    now = datetime.now(UTC).replace(microsecond=0)
    added: list[str] = []
    updated: list[str] = []
    # Hashing runs outside the GIL: a thousand accounts take seconds on all cores, not sixteen on one.
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        secrets = list(pool.map(lambda want: _secrets_for(accounts.get(want.name), want), wanted))
    for want, (hashed, scram) in zip(wanted, secrets, strict=True):
        old = accounts.get(want.name)
        created = now if old is None else old.created
        new = Account(want.name, hashed, want.disabled, created, want.addresses, want.limits, scram)
        if new != old:
            accounts[want.name] = new
            (added if old is None else updated).append(want.name)
    names = {want.name for want in wanted}
    removed = [] if keep_others else [name for name in accounts if name not in names]
    for name in removed:
        del accounts[name]
    return SyncResult(tuple(sorted(added)), tuple(sorted(updated)), tuple(sorted(removed)))


def _secrets_for(old: Account | None, want: WantedAccount) -> tuple[str, str]:
    """Hash and SCRAM keys; those of the file are kept when the password is the one that they were made of."""
    if want.password is None:
        assert want.hash is not None
        return want.hash, want.scram
    if old is not None and verify_password(old.hash, want.password):
        return old.hash, old.scram or make_scram(want.password)
    return hash_password(want.password), make_scram(want.password)


def _wanted(entry: Any) -> WantedAccount:
    if not isinstance(entry, dict):
        raise ValueError("expected a table of name and password (or hash)")
    unknown = sorted(set(entry) - set(_WANTED_KEYS))
    if unknown:
        raise ValueError(f"{unknown[0]!a} is not a known key (expected {', '.join(_WANTED_KEYS)})")
    for key in ("name", "password", "hash", "scram"):
        if not isinstance(entry.get(key), str | None):
            raise ValueError(f"{key} is not a string")
    if entry.get("name") is None:
        raise ValueError("name is missing")
    name = normalise_name(entry["name"])
    password, hashed, disabled = entry.get("password"), entry.get("hash"), entry.get("disabled", False)
    if (password is None) == (hashed is None):
        raise ValueError(f"{name}: expected either password or hash")
    if not isinstance(disabled, bool):
        raise ValueError(f"{name}: disabled is neither true nor false")
    if password is not None and not password:
        raise ValueError(f"{name}: the password is empty")
    if hashed is not None:
        try:
            check_hash(hashed)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    scram = entry.get("scram") or ""
    try:
        if scram:
            if hashed is None:
                raise ValueError("scram goes with hash; with password the keys are made of it")
            check_scram(scram)
        addresses = parse_addresses(entry.get("addresses") or [])
        limits = parse_limits(entry.get("limits") or {})
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    return WantedAccount(name, password, hashed, disabled, addresses, limits, scram)
