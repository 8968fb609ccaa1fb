# SPDX-License-Identifier: GPL-3.0-or-later
"""The file of accounts: read, checked, and replaced in one step.

The file is TOML, one ``[[account]]`` for each, sorted by name, so that two writers of the same accounts write
the same bytes. It is replaced by a rename: a reader sees the old file or the new one, never half of one.
"""

from __future__ import annotations

import contextlib
import json
import tomllib
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from relay_agent.policy.senders import normalise_pattern
from relay_agent.whole_file import locked_directory, replace_file

from .hashing import check_hash
from .limits import NO_LIMITS, AccountLimits, parse_limits
from .scram import check_scram

__all__ = [
    "Account",
    "AccountsError",
    "edit_accounts",
    "load_accounts",
    "normalise_name",
    "parse_accounts",
    "parse_addresses",
    "render",
]

_HEADER = (
    "# The accounts that may sign in. Kept by `relay-agent account` and by the inventory;\n"
    "# comments added here are lost at the next change.\n"
)
_KEYS = ("name", "hash", "scram", "disabled", "created", "addresses", "limits")
_MAX_FILE_BYTES = 64 * 1024 * 1024
_MAX_NAME = 255
_MOST_ADDRESSES = 1000
_LOCK_SECONDS = 10.0


class AccountsError(Exception):
    """The file of accounts cannot be used; ``problems`` has each fault as ``file: entry: problem``."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(self.problems))


@dataclass(slots=True, frozen=True)
class Account:
    """One who may sign in.

    name: in its normalised form. hash: argon2id. addresses: patterns of what it may send as (see
    ``policy.senders``), empty for the rule without a list. limits: in place of those of ``[policy]``.
    scram: stored keys for SCRAM-SHA-256 (see ``accounts.scram``), "" when it cannot sign in that way.
    """

    name: str
    hash: str
    disabled: bool = False
    created: datetime | None = None
    addresses: tuple[str, ...] = ()
    limits: AccountLimits = NO_LIMITS
    scram: str = ""


def normalise_name(name: str) -> str:
    """The form in which names are kept and compared: composed and lower-case (RFC 8265, UsernameCaseMapped).

    Phones like to capitalise the first letter of what is typed, so ``Alice@Example.org`` and
    ``alice@example.org`` are one account. Raises ``ValueError`` for what cannot be a name.
    """
    normal = unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).lower())
    if not normal:
        raise ValueError("the name is empty")
    if len(normal) > _MAX_NAME:
        raise ValueError(f"the name is longer than {_MAX_NAME} characters")
    for letter in normal:
        if letter.isspace() or not letter.isprintable():
            raise ValueError(f"the name contains {letter!a}: no spaces and no control characters, please")
    return normal


def load_accounts(path: Path) -> dict[str, Account]:
    """The accounts of a file, by normalised name.

    Raises ``AccountsError`` naming every fault: an account that is silently left out is a person locked out.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        raise AccountsError([f"{path}: {_reason(error)}"]) from error
    if len(data) > _MAX_FILE_BYTES:
        raise AccountsError([f"{path}: larger than {_MAX_FILE_BYTES} bytes; this is not a file of accounts"])
    return parse_accounts(data, str(path))


def parse_accounts(data: bytes, filename: str) -> dict[str, Account]:
    """As ``load_accounts``, from the file's content."""
    try:
        document = tomllib.loads(data.decode())
    except UnicodeDecodeError as error:
        raise AccountsError([f"{filename}: byte {error.start} is not UTF-8"]) from None
    except (ValueError, RecursionError) as error:  # TOMLDecodeError is a ValueError, so are its numbers' limits
        raise AccountsError([f"{filename}: {error}"]) from None
    problems = [f"{filename}: {key!a}: not a known key (expected [[account]])" for key in document if key != "account"]
    entries = document.get("account", [])
    if not isinstance(entries, list):
        raise AccountsError([*problems, f"{filename}: account: expected [[account]], a list of tables"])
    accounts: dict[str, Account] = {}
    for index, entry in enumerate(entries):
        where = f"{filename}: account[{index}]"
        try:
            account = _account(entry)
            if account.name in accounts:
                raise ValueError(f"{account.name} is there twice (names are compared without regard to case)")
            accounts[account.name] = account
        except ValueError as error:
            problems.append(f"{where}{_named(entry)}: {error}")
    if problems:
        raise AccountsError(problems)
    return accounts


def render(accounts: Mapping[str, Account]) -> str:
    """The file's content for these accounts: the same accounts always give the same bytes."""
    blocks = [_HEADER]
    for name in sorted(accounts):
        account = accounts[name]
        lines = ["", "[[account]]", f"name = {_string(account.name)}", f"hash = {_string(account.hash)}"]
        if account.scram:
            lines.append(f"scram = {_string(account.scram)}")
        if account.disabled:
            lines.append("disabled = true")
        if account.created is not None:
            lines.append(f"created = {account.created.astimezone(UTC).replace(tzinfo=None).isoformat()}Z")
        if account.addresses:
            lines.append(f"addresses = [{', '.join(map(_string, account.addresses))}]")
        if given := account.limits.given():
            lines.append(f"limits = {{ {', '.join(f'{key} = {value}' for key, value in given.items())} }}")
        blocks.append("\n".join(lines) + "\n")
    return "".join(blocks)


@contextlib.contextmanager
def edit_accounts(path: Path) -> Iterator[dict[str, Account]]:
    """Change the file under a lock: yields its accounts, writes what they have become, if they have.

    A file that does not exist begins empty. Nothing is written when the block raises.
    Raises ``AccountsError`` for a file with faults or one that stays locked, ``OSError`` when writing fails.
    """
    path = path.resolve()  # a link stays a link: its target is replaced
    with _locked(path.parent):
        accounts = load_accounts(path) if path.exists() else {}
        before = dict(accounts)
        yield accounts
        if accounts != before or not path.exists():
            replace_file(path, render(accounts).encode())


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(locked_directory(directory, _LOCK_SECONDS))
        except TimeoutError:
            message = f"{directory}: another program has been changing the accounts for {_LOCK_SECONDS:.0f} s"
            raise AccountsError([message]) from None
        except OSError as error:
            raise AccountsError([f"{directory}: {_reason(error)}"]) from error
        yield


def _account(entry: Any) -> Account:
    if not isinstance(entry, dict):
        raise ValueError("expected a table")
    unknown = [key for key in entry if key not in _KEYS]
    if unknown:
        raise ValueError(f"{unknown[0]!a} is not a known key (expected {', '.join(_KEYS)})")
    name, hashed = entry.get("name"), entry.get("hash")
    disabled, created = entry.get("disabled", False), entry.get("created")
    if not isinstance(name, str):
        raise ValueError("name is missing" if name is None else "name is not a string")
    if not isinstance(hashed, str):
        raise ValueError("hash is missing" if hashed is None else "hash is not a string")
    if not isinstance(disabled, bool):
        raise ValueError("disabled is neither true nor false")
    if created is not None:
        if not isinstance(created, datetime):
            raise ValueError("created is not a time such as 2026-01-31T12:00:00Z")
        try:
            created = created.replace(tzinfo=created.tzinfo or UTC).astimezone(UTC)
        except OverflowError:
            raise ValueError("created is a time before the year 1 or behind the year 9999") from None
    check_hash(hashed)
    scram = entry.get("scram", "")
    if scram != "":
        check_scram(scram)
    return Account(
        normalise_name(name),
        hashed,
        disabled,
        created,
        parse_addresses(entry.get("addresses", [])),
        parse_limits(entry.get("limits", {})),
        scram,
    )


def parse_addresses(value: Any) -> tuple[str, ...]:
    """The patterns of a decoded list, each in its normal form. Raises ValueError naming the one that is none."""
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise ValueError('addresses is not a list such as ["alice@example.org", "@example.net"]')
    if len(value) > _MOST_ADDRESSES:
        raise ValueError(f"addresses has more than {_MOST_ADDRESSES} entries")
    return tuple(dict.fromkeys(normalise_pattern(each) for each in value))


def _named(entry: Any) -> str:
    name = entry.get("name") if isinstance(entry, dict) else None
    return f" ({name!a})" if isinstance(name, str) else ""


def _string(value: str) -> str:
    """A TOML basic string; JSON's escapes are TOML's for everything that a name or a hash may contain."""
    return json.dumps(value, ensure_ascii=False)


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower() if error.errno else str(error)
