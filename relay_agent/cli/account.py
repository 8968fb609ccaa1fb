# SPDX-License-Identifier: GPL-3.0-or-later
"""``relay-agent account``: who may sign in."""

from __future__ import annotations

import argparse
import getpass
import json
import secrets
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from relay_agent.accounts.limits import parse_limits
from relay_agent.accounts.store import Account, edit_accounts, load_accounts, normalise_name, parse_addresses

from .notice import print_told, tell_agent
from .terminal import complain, escape, print_json, table

__all__ = ["add", "addresses", "delete", "disable", "enable", "limits", "list_accounts", "passwd", "sync"]

_DEFAULT_SOCKET = Path("/run/postroad/control.sock")
_MAX_INPUT = 64 * 1024 * 1024
# No letters and digits that look alike: 31 are left.
_GENERATED = "abcdefghjkmnpqrstuvwxyz23456789"


class _RefusedError(Exception):
    """What was asked for cannot be done, in words."""


def add(arguments: argparse.Namespace) -> int:
    """Add an account that does not exist yet."""

    try:
        addresses = parse_addresses(arguments.address)
    except ValueError as error:
        return _refuse(error)

    def change(accounts: dict[str, Account], name: str, hashed: str, scram: str) -> None:
        if name in accounts:
            raise _RefusedError(f"{name} exists already (change its password with `relay-agent account passwd`)")
        created = datetime.now(UTC).replace(microsecond=0)
        accounts[name] = Account(name, hashed, created=created, addresses=addresses, scram=scram)

    return _set_password(arguments, change, "added", must_exist=False)


def passwd(arguments: argparse.Namespace) -> int:
    """Change an account's password."""

    def change(accounts: dict[str, Account], name: str, hashed: str, scram: str) -> None:
        accounts[name] = replace(_existing(accounts, name), hash=hashed, scram=scram)

    return _set_password(arguments, change, "has a new password", must_exist=True)


def delete(arguments: argparse.Namespace) -> int:
    """Remove an account."""

    def change(accounts: dict[str, Account], name: str) -> None:
        _existing(accounts, name)
        del accounts[name]

    return _change(arguments, change, "deleted")


def disable(arguments: argparse.Namespace) -> int:
    """Lock an account."""
    return _change(arguments, lambda accounts, name: _set_disabled(accounts, name, disabled=True), "disabled")


def enable(arguments: argparse.Namespace) -> int:
    """Let an account in again."""
    return _change(arguments, lambda accounts, name: _set_disabled(accounts, name, disabled=False), "enabled")


def addresses(arguments: argparse.Namespace) -> int:
    """Set what an account may send as."""
    try:
        wanted = () if arguments.clear else parse_addresses(arguments.address)
        if not wanted and not arguments.clear:
            raise ValueError("name at least one address, or give --clear")
    except ValueError as error:
        return _refuse(error)

    def change(accounts: dict[str, Account], name: str) -> None:
        accounts[name] = replace(_existing(accounts, name), addresses=wanted)

    return _change(arguments, change, f"may send as {', '.join(wanted)}" if wanted else "without a list of addresses")


def limits(arguments: argparse.Namespace) -> int:
    """Set an account's own limits."""
    try:
        wanted = {} if arguments.clear else _numbers(arguments.limit)
        if not wanted and not arguments.clear:
            raise ValueError("name at least one limit, such as messages_per_hour=100, or give --clear")
        parse_limits(wanted)
    except ValueError as error:
        return _refuse(error)

    def change(accounts: dict[str, Account], name: str) -> None:
        account = _existing(accounts, name)
        kept = {} if arguments.clear else account.limits.given()
        accounts[name] = replace(account, limits=parse_limits(kept | wanted))

    return _change(arguments, change, "limits set" if wanted else "without limits of its own")


def _numbers(words: list[str]) -> dict[str, int]:
    numbers: dict[str, int] = {}
    for word in words:
        name, equals, number = word.partition("=")
        digits = number.removeprefix("-")
        if not equals or not digits.isascii() or not digits.isdigit() or len(digits) > 18:
            raise ValueError(f"{word}: expected a limit such as messages_per_hour=100")
        numbers[name] = int(number)
    return numbers


def list_accounts(arguments: argparse.Namespace) -> int:
    """Print the accounts."""
    path, _ = _places(arguments)
    accounts = load_accounts(path)
    ordered = [accounts[name] for name in sorted(accounts)]
    if arguments.json:
        print_json([_plain(account) for account in ordered])
        return 0
    if not ordered:
        print("no accounts; add one with: relay-agent account add NAME")
        return 0
    rows = [
        (
            account.name,
            "disabled" if account.disabled else "",
            f"{account.created:%Y-%m-%d}" if account.created else "",
            _in_short(account.addresses),
        )
        for account in ordered
    ]
    print(table(("name", "state", "created", "may send as"), rows))
    return 0


def sync(arguments: argparse.Namespace) -> int:
    """Make the accounts those of the list on standard input."""
    from relay_agent.accounts.sync import parse_wanted, sync_accounts

    path, socket = _places(arguments)
    try:
        text = sys.stdin.buffer.read(_MAX_INPUT + 1)
        if len(text) > _MAX_INPUT:
            raise _RefusedError(f"more than {_MAX_INPUT} bytes on standard input")
        try:
            document = json.loads(text)
        except (ValueError, RecursionError):
            # Not the decoder's own message: it could quote a password.
            raise _RefusedError('standard input is not JSON (expected [{"name": ..., "password": ...}, ...])') from None
        result = sync_accounts(path, parse_wanted(document), check=arguments.check, keep_others=arguments.keep_others)
    except (_RefusedError, ValueError) as error:
        return _refuse(error)
    # Also when nothing differs: the run that changed the file may have been cut short before it could tell.
    told = None if arguments.check else tell_agent(socket, "accounts.reload")
    if arguments.json:
        names = {"added": result.added, "updated": result.updated, "removed": result.removed}
        print_json({"changed": result.changed, **{key: list(value) for key, value in names.items()}, "agent": told})
        return 0
    for word, names_of in (("added", result.added), ("updated", result.updated), ("removed", result.removed)):
        for name in names_of:
            print(f"{'would be ' if arguments.check else ''}{word}: {escape(name)}")
    if not result.changed:
        print("nothing to change")
    print_told(told)
    return 0


def _set_password(
    arguments: argparse.Namespace,
    change: Callable[[dict[str, Account], str, str, str], None],
    done: str,
    *,
    must_exist: bool,
) -> int:
    from relay_agent.accounts.hashing import hash_password
    from relay_agent.accounts.scram import make_scram

    path, _ = _places(arguments)
    try:
        # Before anybody types a password: a mistake in the name is told first.
        name = normalise_name(arguments.name)
        known = load_accounts(path) if path.exists() else {}
        if must_exist:
            _existing(known, name)
        elif name in known:
            change(known, name, "", "")
        password = make_password() if arguments.generate else _password(arguments, name)
        hashed, scram = hash_password(password), make_scram(password)
    except (_RefusedError, ValueError) as error:
        return _refuse(error)
    shown = {"password": password} if isinstance(password, str) and arguments.generate else {}
    return _change(arguments, lambda accounts, name: change(accounts, name, hashed, scram), done, shown=shown)


def _change(
    arguments: argparse.Namespace,
    change: Callable[[dict[str, Account], str], None],
    done: str,
    *,
    shown: dict[str, str] | None = None,
) -> int:
    """Change one account under the file's lock, tell the agent, say what was done."""
    path, socket = _places(arguments)
    try:
        name = normalise_name(arguments.name)
        with edit_accounts(path) as accounts:
            before = dict(accounts)
            change(accounts, name)
            changed = accounts != before
    except (_RefusedError, ValueError) as error:
        return _refuse(error)
    told = tell_agent(socket, "accounts.reload") if changed else None
    if arguments.json:
        print_json({"name": name, "changed": changed, **(shown or {}), "agent": told})
        return 0
    if shown:
        print(shown["password"])
    print(f"{escape(name)}: {done if changed else f'is {done} already'}", file=sys.stderr if shown else sys.stdout)
    print_told(told)
    return 0


def _set_disabled(accounts: dict[str, Account], name: str, *, disabled: bool) -> None:
    accounts[name] = replace(_existing(accounts, name), disabled=disabled)


def _existing(accounts: dict[str, Account], name: str) -> Account:
    account = accounts.get(name)
    if account is None:
        import difflib

        near = difflib.get_close_matches(name, accounts, n=1)
        raise _RefusedError(f"no account {name}" + (f"; did you mean {near[0]}?" if near else ""))
    return account


def make_password() -> str:
    """A password of 99 bits that can be read out on the telephone."""
    return "-".join("".join(secrets.choice(_GENERATED) for _ in range(4)) for _ in range(5))


def _password(arguments: argparse.Namespace, name: str) -> str | bytes:
    """A new password, read or asked for; never from the command line, where every user could see it."""
    if arguments.password_stdin:
        line = sys.stdin.buffer.readline(65_536)
        return line.removesuffix(b"\n").removesuffix(b"\r")
    if not sys.stdin.isatty():
        raise _RefusedError("no terminal to ask for the password (use --password-stdin or --generate)")
    password = getpass.getpass(f"New password for {escape(name)}: ")
    if getpass.getpass("Again: ") != password:
        raise _RefusedError("the two passwords differ; nothing was changed")
    return password


def _places(arguments: argparse.Namespace) -> tuple[Path, Path]:
    """The file of accounts and the control socket."""
    if arguments.file is not None and not arguments.config.exists():
        return arguments.file, _DEFAULT_SOCKET  # before the first configuration is there
    from relay_agent.config.load import ConfigError, read_config

    try:
        config = read_config(arguments.config)
    except ConfigError:
        if arguments.file is None:
            raise
        return arguments.file, _DEFAULT_SOCKET
    return arguments.file or config.accounts.file, config.control.socket


def _refuse(error: Exception) -> int:
    for line in str(error).splitlines():
        complain(line)
    return 1


def _plain(account: Account) -> dict[str, Any]:
    created = f"{account.created.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}" if account.created else None
    return {
        "name": account.name,
        "disabled": account.disabled,
        "created": created,
        "addresses": list(account.addresses),
        "limits": account.limits.given(),
    }


def _in_short(addresses: tuple[str, ...]) -> str:
    shown = ", ".join(addresses[:3])
    return f"{shown} and {len(addresses) - 3} more" if len(addresses) > 3 else shown
