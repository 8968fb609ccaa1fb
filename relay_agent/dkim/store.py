# SPDX-License-Identifier: GPL-3.0-or-later
"""The directory of keys: ``<directory>/<domain>/<selector>.pem``, each file replaced in one step.

Read by the workers, changed by `relay-agent dkim` under a lock. A key's file can be read by the agent's group and
nobody else: like the accounts' file, it takes its group from the directory above.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from relay_agent.config.schema import Dkim
from relay_agent.delivery.domain import ascii_domain
from relay_agent.dkim.keys import Algorithm, Key, KeyState, check_selector, make_key, parse_key, render_key
from relay_agent.dkim.places import SUFFIX, DkimError, key_files, reason
from relay_agent.whole_file import locked_directory, replace_file, sync_directory

__all__ = ["KeyStore", "load_keys"]

_MOST_OCTETS = 65_536
_LOCK_SECONDS = 10.0
_SHORT = {Algorithm.RSA: "rsa", Algorithm.ED25519: "ed25519"}


def load_keys(config: Dkim) -> list[Key]:
    """All keys, those named in the configuration first. Raises DkimError naming each file that cannot be used."""
    keys: list[Key] = []
    problems: list[str] = []
    taken: dict[tuple[str, str], Path] = {}
    for path, domain, selector, given in key_files(config):
        try:
            if ascii_domain(domain) != domain or check_selector(selector) != selector:
                raise ValueError("is not named by domain and selector in lower case (expected DOMAIN/SELECTOR.pem)")
            if taken.setdefault((domain, selector), path) != path:
                raise ValueError(f"is the key {selector} of {domain} a second time, after {taken[domain, selector]}")
            with path.open("rb") as file:
                keys.append(parse_key(file.read(_MOST_OCTETS), domain, selector, given=given))
        except ValueError as error:
            problems.append(f"{path}: {error}")
        except OSError as error:
            problems.append(f"{path}: {reason(error)}")
    if problems:
        raise DkimError(problems)
    return keys


class KeyStore:
    """The keys of a configuration, and the changes that they may go through.

    Every change is read, checked and written under the directory's lock. All methods raise DkimError in words, and
    OSError when a file cannot be written.
    """

    def __init__(self, config: Dkim) -> None:
        self._config = config
        self._directory = config.directory

    def make(self, domain: str, algorithms: tuple[Algorithm, ...], now: datetime, selector: str = "") -> list[Key]:
        """New pending keys. selector: of the key, or its beginning when there are two; "" for one by date."""
        with self._locked(make=True):
            keys = [key for key in load_keys(self._config) if key.domain == domain]
            for key in keys:
                if key.state is KeyState.PENDING and key.algorithm in algorithms:
                    raise DkimError(
                        [
                            f"{domain} has the pending key {key.selector} already: publish and activate it, or delete "
                            f"it with `relay-agent dkim delete {domain} {key.selector}`"
                        ]
                    )
            taken = {key.selector for key in keys}
            names = _selectors(selector, algorithms, now, taken)
            made = [make_key(domain, name, each, now) for name, each in zip(names, algorithms, strict=True)]
            place = self._directory / domain
            if not place.exists():
                _make_directory(place)
            for key in made:
                self._write(key)
        return made

    def add(self, key: Key, now: datetime) -> bool:
        """Keep a key that was made on another relay, as pending; returns whether it is new here.

        A key that is here already keeps its state. Raises DkimError when the selector is another key's.
        """
        with self._locked(make=True):
            for known in load_keys(self._config):
                if (known.domain, known.selector) == (key.domain, key.selector):
                    if known.public() != key.public():
                        raise DkimError([f"{key.name} is another key here (a selector is used once)"])
                    return False
            if not (self._directory / key.domain).exists():
                _make_directory(self._directory / key.domain)
            self._write(_moved(key, KeyState.PENDING, now))
        return True

    def activate(self, keys: list[Key], now: datetime) -> list[Key]:
        """Let these sign, and retire those that did before them; returns what was retired.

        The new ones are written first: whenever this is cut short, there is a key that signs.
        """
        with self._locked():
            current = self._same(keys)
            chosen = {(key.domain, key.selector) for key in current}
            before = [
                key
                for key in load_keys(self._config)
                if key.state is KeyState.ACTIVE
                and not key.given
                and (key.domain, key.selector) not in chosen
                and any(key.domain == each.domain and key.algorithm is each.algorithm for each in current)
            ]
            for key in current:
                self._write(_moved(key, KeyState.ACTIVE, now))
            retired = [_moved(key, KeyState.RETIRED, now) for key in before]
            for key in retired:
                self._write(key)
        return retired

    def retire(self, key: Key, now: datetime) -> None:
        """Let a key sign no more."""
        with self._locked():
            (current,) = self._same([key])
            self._write(_moved(current, KeyState.RETIRED, now))

    def delete(self, key: Key) -> None:
        """Remove a key for good, and the domain's directory when it was the last."""
        with self._locked():
            (current,) = self._same([key])
            path = self._path(current)
            path.unlink()
            sync_directory(path.parent)
            with contextlib.suppress(OSError):  # not empty: other keys
                path.parent.rmdir()

    def _same(self, keys: list[Key]) -> list[Key]:
        """The keys as they are now. Raises DkimError when one has changed its state since it was looked at."""
        now = {(key.domain, key.selector): key for key in load_keys(self._config)}
        current = []
        for key in keys:
            found = now.get((key.domain, key.selector))
            if found is None or found.state is not key.state:
                raise DkimError([f"{key.name} was changed by another program in the meantime; look at it again"])
            if found.given:
                raise DkimError([f"{key.name} is named in the configuration ([[dkim.key]]): change it there"])
            current.append(found)
        return current

    def _path(self, key: Key) -> Path:
        return self._directory / key.domain / f"{key.selector}{SUFFIX}"

    def _write(self, key: Key) -> None:
        replace_file(self._path(key), render_key(key))

    @contextlib.contextmanager
    def _locked(self, *, make: bool = False) -> Iterator[None]:
        if make and not self._directory.exists():
            _make_directory(self._directory)
        with contextlib.ExitStack() as held:
            try:
                held.enter_context(locked_directory(self._directory, _LOCK_SECONDS))
            except TimeoutError as error:
                raise DkimError([str(error)]) from None
            yield


def _selectors(wanted: str, algorithms: tuple[Algorithm, ...], now: datetime, taken: set[str]) -> list[str]:
    """A selector for each algorithm that no key of the domain has."""
    if wanted:
        names = [wanted] if len(algorithms) == 1 else [f"{wanted}-{_SHORT[each]}" for each in algorithms]
        for name in names:
            if name in taken:
                raise DkimError([f"there is a key with the selector {name} already (a selector is used once)"])
        return names
    for letter in ("", *"bcdefghijklmnopqrstuvwxyz"):
        names = [f"{now.astimezone(UTC):%Y%m%d}{letter}-{_SHORT[each]}" for each in algorithms]
        if not taken.intersection(names):
            return names
    raise DkimError(["all selectors of today are taken: name one with --selector"])


def _moved(key: Key, state: KeyState, now: datetime) -> Key:
    return replace(key, state=state, since=now.astimezone(UTC).replace(microsecond=0))


def _make_directory(path: Path) -> None:
    """A directory for the group of the one above, and nobody else."""
    path.mkdir(mode=0o750)
    with contextlib.suppress(PermissionError):
        os.chown(path, -1, path.parent.stat().st_gid)
    path.chmod(0o750)  # whatever the umask
    sync_directory(path.parent)
