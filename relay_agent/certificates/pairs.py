# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificate and key on the disk: pairs kept whole, switched in one step, and the key that comes next.

The layout is that of the role relay_tls: each pair has a directory under `versions`, and `current` is a symbolic link
to one of them, through which the names in the agent's configuration lead.
"""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime
from pathlib import Path

from relay_agent.whole_file import replace_file, sync_directory

from .chain import key_digest, new_key, read_leaf
from .problem import CertificateError

__all__ = ["CERTIFICATE", "KEY", "Pairs"]

CERTIFICATE = "fullchain.pem"
KEY = "privkey.pem"
_KEPT = 3


class Pairs:
    """What is below a directory, usually /etc/postroad/tls."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._versions = directory / "versions"
        self._current = directory / "current"
        self._next = directory / "next" / KEY

    def chain(self) -> str:
        """The chain in use, in PEM; "" where there is none."""
        return _read(self.directory / CERTIFICATE)

    def key(self) -> str:
        """The key in use, in PEM; "" where there is none."""
        return _read(self.directory / KEY)

    def next_key(self) -> str:
        """The key that the next certificate is for, in PEM; made where there is none. Nobody but root may read it."""
        key = _read(self._next)
        if not key:
            self._next.parent.mkdir(mode=0o700, exist_ok=True)
            key = new_key()
            descriptor = os.open(self._next, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            os.close(descriptor)
            replace_file(self._next, key.encode("ascii"))
        return key

    def has_next_key(self) -> bool:
        """Whether the key that comes next has been made."""
        return self._next.is_file()

    def put_in_use(self, chain: str, key: str) -> Path | None:
        """Have a pair in use from now on; returns where `current` led before, for `put_back`.

        Raises CertificateError when the two do not belong together; nothing is changed then.
        """
        leaf = read_leaf(chain)
        if leaf.key != key_digest(key):
            raise CertificateError("the new certificate is not for the key that it was asked for")
        # To the microsecond: a directory that is in use must never be written to again.
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        version = self._versions / f"{stamp}-{leaf.fingerprint[:12]}"
        group = self.directory.stat().st_gid
        self._versions.mkdir(mode=0o750, exist_ok=True)
        version.mkdir(mode=0o750)
        for name, content in ((CERTIFICATE, chain), (KEY, key)):
            path = version / name
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640)
            with os.fdopen(descriptor, "w", encoding="ascii") as stream:
                os.fchown(descriptor, -1, group)
                os.fchmod(descriptor, 0o640)
                stream.write(content)
                stream.flush()
                os.fsync(descriptor)
        os.chown(version, -1, group)
        version.chmod(0o750)
        before = self._current.readlink() if self._current.is_symlink() else None
        _point(self._current, Path("versions") / version.name)
        for name in (CERTIFICATE, KEY):
            _point(self.directory / name, Path("current") / name)
        sync_directory(self.directory)
        return before

    def holds(self, before: Path, now: float) -> bool:
        """Whether the pair that `put_in_use` took out of use is one, and has not ended. now: as of `time.time`."""
        try:
            leaf = read_leaf(_read(self.directory / before / CERTIFICATE))
            return leaf.ends.timestamp() > now and leaf.key == key_digest(_read(self.directory / before / KEY))
        except CertificateError:
            return False

    def put_back(self, before: Path) -> None:
        """Have the pair in use again that `put_in_use` took out of it, and forget the other one."""
        failed = self._current.resolve()
        _point(self._current, before)
        sync_directory(self.directory)
        if failed.parent == self._versions.resolve() and failed != self._current.resolve():
            shutil.rmtree(failed, ignore_errors=True)

    def next_key_is_used(self) -> None:
        """The next key is the present one now: another comes next."""
        self._next.unlink(missing_ok=True)
        self.next_key()

    def prune(self) -> None:
        """Keep the pair in use, and the latest of those before it."""
        current = self._current.resolve().name
        versions = sorted(entry.name for entry in self._versions.iterdir() if entry.name != current)
        for name in versions[: -(_KEPT - 1)]:
            shutil.rmtree(self._versions / name)


def _read(path: Path) -> str:
    try:
        return path.read_text("ascii", "replace")
    except (FileNotFoundError, NotADirectoryError):
        return ""


def _point(link: Path, target: Path) -> None:
    """Make `link` lead to `target` in one step, also where a file or another link is now."""
    if link.is_symlink() and link.readlink() == target:
        return
    temporary = link.with_name(f".{link.name}.new")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    temporary.replace(link)
