# SPDX-License-Identifier: GPL-3.0-or-later
"""Files and directories of which content, owner and mode are wanted: compare, show, replace in one step."""

from __future__ import annotations

import grp
import hashlib
import os
import pwd
import stat
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["ManagedDirectory", "ManagedFile", "fingerprint", "sync_directory"]

OWNER = "root"
"""What root owns the agent cannot change, whatever becomes of it."""


@dataclass(frozen=True)
class ManagedDirectory:
    """A directory that must exist with this group and mode; its owner is root."""

    path: Path
    mode: int = 0o755
    group: str = "root"

    def differs(self) -> bool:
        """Whether it is missing or has another owner, group or mode."""
        return not self.path.is_dir() or not _has_rights(self.path, OWNER, self.group, self.mode)

    def ensure(self) -> None:
        """Make it so."""
        self.path.mkdir(parents=True, exist_ok=True)
        _set_rights(self.path, OWNER, self.group, self.mode)


@dataclass(frozen=True)
class ManagedFile:
    """A file with this content, owned by root. What is `secret` appears in no diff."""

    path: Path
    content: str = field(repr=False)
    mode: int = 0o644
    group: str = "root"
    secret: bool = False

    def differs(self) -> bool:
        """Whether content, owner, group or mode are not as wanted."""
        return self.content_differs() or not _has_rights(self.path, OWNER, self.group, self.mode)

    def current(self) -> str | None:
        """What is there now, with escapes for bytes that are no text; None when there is no file."""
        found = self._read()
        return None if found is None else found.decode("utf-8", errors="backslashreplace")

    def _read(self) -> bytes | None:
        try:
            return self.path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def content_differs(self) -> bool:
        """Whether the content is another, or there is no file."""
        # By bytes: a hand may have left other line ends or what is no text at all.
        return self._read() != self.content.encode()

    def diff(self) -> dict[str, str]:
        """Before and after, as Ansible shows them."""
        before = self.current()
        header = {"before_header": str(self.path), "after_header": str(self.path)}
        if not self.content_differs():
            return header | {"before": "(other owner or mode)\n", "after": f"{OWNER}:{self.group} {self.mode:04o}\n"}
        if self.secret:
            return header | {"before": "" if before is None else "(secret)\n", "after": "(new secret)\n"}
        return header | {"before": before or "", "after": self.content}

    def write(self) -> None:
        """Replace the file in one step: a reader sees the old one or the new one."""
        temporary = self.write_beside()
        try:
            temporary.replace(self.path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        sync_directory(self.path.parent)

    def write_beside(self) -> Path:
        """The same content and rights under a temporary name in the same directory, synced."""
        handle, name = tempfile.mkstemp(prefix=f".{self.path.name}.", suffix=".new", dir=self.path.parent)
        path = Path(name)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(self.content)
                file.flush()
                os.fsync(file.fileno())
            _set_rights(path, OWNER, self.group, self.mode)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return path


def fingerprint(*paths: Path) -> str:
    """Hash over names and contents of files; a file that is missing counts as such."""
    digest = hashlib.sha256()
    for path in sorted(paths):
        try:
            content = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError:
            content = "-"
        digest.update(f"{path} {content}\n".encode())
    return digest.hexdigest()


def _ids(owner: str, group: str) -> tuple[int, int] | None:
    try:
        return pwd.getpwnam(owner).pw_uid, grp.getgrnam(group).gr_gid
    except KeyError:
        # Check mode on a host that does not have the agent's group yet.
        return None


def _has_rights(path: Path, owner: str, group: str, mode: int) -> bool:
    try:
        found = path.stat()
    except OSError:
        return False
    return _ids(owner, group) == (found.st_uid, found.st_gid) and stat.S_IMODE(found.st_mode) == mode


def _set_rights(path: Path, owner: str, group: str, mode: int) -> None:
    ids = _ids(owner, group)
    if ids is None:
        raise OSError(f"there is no user {owner} or no group {group}")
    # Owner first: chown takes set-id bits away, and until then nobody else may read the file.
    os.chown(path, *ids)
    path.chmod(mode)


def sync_directory(path: Path) -> None:
    """Have what was renamed in a directory survive a power cut."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
