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
from .store import Account, edit_accounts, load_accounts, normalise_name

__all__ = ["SyncResult", "WantedAccount", "parse_wanted", "sync_accounts"]


@dataclass(slots=True, frozen=True)
class WantedAccount:
    """An account as the inventory has it: with a password or with its hash, not both."""

    name: str
    password: str | None = None
    hash: str | None = None
    disabled: bool = False

    def __post_init__(self) -> None:
        if (self.password is None) == (self.hash is None):
            raise ValueError("expected either password or hash")

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
    """The wanted accounts out of decoded JSON: a list of ``{name, password | hash, disabled}``.

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
        hashes = list(pool.map(lambda want: _hash_for(accounts.get(want.name), want), wanted))
    for want, hashed in zip(wanted, hashes, strict=True):
        old = accounts.get(want.name)
        if old is None:
            accounts[want.name] = Account(want.name, hashed, want.disabled, now)
            added.append(want.name)
        elif (new := replace(old, hash=hashed, disabled=want.disabled)) != old:
            accounts[want.name] = new
            updated.append(want.name)
    names = {want.name for want in wanted}
    removed = [] if keep_others else [name for name in accounts if name not in names]
    for name in removed:
        del accounts[name]
    return SyncResult(tuple(sorted(added)), tuple(sorted(updated)), tuple(sorted(removed)))


def _hash_for(old: Account | None, want: WantedAccount) -> str:
    if want.password is None:
        assert want.hash is not None
        return want.hash
    if old is not None and verify_password(old.hash, want.password):
        return old.hash
    return hash_password(want.password)


def _wanted(entry: Any) -> WantedAccount:
    if not isinstance(entry, dict):
        raise ValueError("expected a table of name and password (or hash)")
    unknown = sorted(set(entry) - {"name", "password", "hash", "disabled"})
    if unknown:
        raise ValueError(f"{unknown[0]!a} is not a known key (expected name, password, hash, disabled)")
    for key in ("name", "password", "hash"):
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
    return WantedAccount(name, password, hashed, disabled)
