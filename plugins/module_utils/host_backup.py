# SPDX-License-Identifier: GPL-3.0-or-later
"""A host's backup in one file: what was made on it or belongs to it alone, and its queue.

A tar archive with `backup.json` first, the files below `etc/` and `state/`, and the queue as the agent packs it
(`queue.parcel`). What site.yml makes by itself (release, units, firewall) is not in it.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import pwd
import re
import tarfile
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from .agent_queue import AgentQueue

__all__ = ["BackupError", "HostBackup", "Restored"]

_FORMAT = 1
_HEAD, _QUEUE = "backup.json", "queue.parcel"
_PARTS = ("agent.toml", "accounts.toml", "dkim", "tls", "secrets")
_NAME = re.compile(r"(?:etc|state)(?:/[A-Za-z0-9_@%+=,~-][A-Za-z0-9._@%+=,~-]*)+", re.ASCII)
# Notes of this host about itself, such as `.unproved` beside a certificate; there were backups that had one.
_HIDDEN = re.compile(r"/\.[A-Za-z0-9_-][A-Za-z0-9_.-]*\Z", re.ASCII)
_MODES = {"etc": 0o640, "state": 0o600}


class BackupError(Exception):
    """The backup could not be made or is not to be restored here; the text says why and what to do."""


@dataclass
class Restored:
    """What was put in place: paths below the host's root."""

    written: list[str] = field(default_factory=list)
    host: str = ""


class HostBackup:
    """`etc` and `state` are where the agent has its files and its queue; `user` is whom it runs as."""

    def __init__(
        self,
        queue: AgentQueue,
        *,
        etc: Path = Path("/etc/postroad"),
        state: Path = Path("/var/lib/postroad/queue"),
        user: str = "postroad",
    ) -> None:
        self._queue = queue
        self._roots = {"etc": etc, "state": state}
        self._user = user

    def save(self, path: Path, host: str, release: str) -> dict[str, Any]:
        """Write the backup; what is in it. Raises AgentQueueError and OSError."""
        with tempfile.TemporaryDirectory(dir=path.parent) as beside:
            parcel = Path(beside) / _QUEUE
            packed = self._queue.pack(parcel)
            files = sorted(self._found())
            head = {
                "format": _FORMAT,
                "host": host,
                "release": release,
                "made": time.time(),
                "messages": packed["messages"],
                "files": {name: _sum(file) for name, file in files if not file.is_symlink()},
            }
            with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
                _add_text(archive, _HEAD, json.dumps(head, indent=1))
                for name, file in files:
                    archive.add(file, name, recursive=False, filter=_plain)
                archive.add(parcel, _QUEUE, filter=_plain)
        return {
            "messages": packed["messages"],
            "recipients": packed["recipients"],
            "files": [name for name, _ in files],
        }

    def _found(self) -> Iterator[tuple[str, Path]]:
        etc = self._roots["etc"]
        for part in _PARTS:
            path = etc / part
            for file in [path] if path.is_file() else sorted(path.rglob("*")):
                if not _HIDDEN.search(str(file)) and (file.is_symlink() or file.is_file()):
                    yield f"etc/{file.relative_to(etc)}", file
        suppression = self._roots["state"] / "suppression.jsonl"
        if suppression.is_file():
            yield "state/suppression.jsonl", suppression

    def restore_files(self, path: Path, *, overwrite: bool, check_mode: bool) -> Restored:
        """Put the files in place, before the agent is installed or beside a running one.

        Raises BackupError, with nothing changed, when a file of the host would be changed and `overwrite` is not set,
        or when the archive is not whole.
        """
        with tarfile.open(path) as archive:
            head = _head(archive)
            known = [each for each in archive.getmembers() if each.name not in (_HEAD, _QUEUE)]
            members = [each for each in known if not _HIDDEN.search(each.name)]
            wanted = [each for each in members if self._differs(archive, each, head["files"])]
            present = [str(self._place(each.name)) for each in wanted if os.path.lexists(self._place(each.name))]
            if present and not overwrite:
                raise BackupError(
                    f"{', '.join(present[:5])}{' and others' if len(present) > 5 else ''} on this host are not as in "
                    f"the backup of {head['host']}: it is not a fresh host. With relay_restore_overwrite=true they are "
                    "replaced"
                )
            restored = Restored([str(self._place(each.name)) for each in wanted], str(head["host"]))
            if not check_mode:
                for each in wanted:
                    self._write(archive, each)
        return restored

    def restore_mail(self, path: Path) -> dict[str, Any]:
        """Take the backup's queue into this host's. Raises BackupError and AgentQueueError."""
        with tarfile.open(path) as archive, tempfile.TemporaryDirectory(dir=path.parent) as beside:
            _head(archive)
            try:
                content = archive.extractfile(_QUEUE)
            except KeyError:
                content = None
            if content is None:
                raise BackupError("the backup has no queue in it")
            parcel = Path(beside) / _QUEUE
            with parcel.open("wb") as file:
                while block := content.read(1 << 20):
                    file.write(block)
            return self._queue.unpack(parcel)

    def _place(self, name: str) -> Path:
        root, _, rest = name.partition("/")
        return self._roots[root] / rest

    def _differs(self, archive: tarfile.TarFile, member: tarfile.TarInfo, sums: dict[str, str]) -> bool:
        path = self._place(member.name) if _NAME.fullmatch(member.name) else None
        if path is not None and member.issym() and _stays(member):
            return not path.is_symlink() or str(path.readlink()) != member.linkname
        content = archive.extractfile(member) if member.isreg() else None
        if path is None or content is None:
            raise BackupError(f"{member.name} has no place in a backup")
        if hashlib.sha256(content.read()).hexdigest() != sums.get(member.name):
            raise BackupError(f"the backup is damaged: {member.name} is not what was saved")
        return not path.is_file() or path.is_symlink() or _sum(path) != sums[member.name]

    def _write(self, archive: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        path = self._place(member.name)
        kind = member.name.partition("/")[0]
        root, user = self._roots[kind], pwd.getpwnam(self._user)
        # What is of the agent's making belongs to it; what it only reads belongs to root.
        owner = user.pw_uid if kind == "state" else 0
        root.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        for parent in reversed([path.parent, *path.parent.parents]):
            if (parent == root or root in parent.parents) and not parent.is_dir():
                parent.mkdir(mode=0o700 if owner else 0o750)
                os.chown(parent, owner, user.pw_gid)
        beside = path.with_name(f".{path.name}.restored")
        beside.unlink(missing_ok=True)
        if member.issym():
            beside.symlink_to(member.linkname)
        else:
            content = archive.extractfile(member)
            assert content is not None
            with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(content.read())
                file.flush()
                os.fsync(file.fileno())
                os.fchown(file.fileno(), owner, user.pw_gid)
                os.fchmod(file.fileno(), _MODES[kind])
        beside.replace(path)


def _head(archive: tarfile.TarFile) -> dict[str, Any]:
    try:
        first = archive.next()
        content = archive.extractfile(first) if first is not None and first.name == _HEAD else None
        head = json.load(content) if content is not None else {}
    except (tarfile.TarError, ValueError) as error:
        raise BackupError(f"not a backup of a relay: {error}") from error
    if not isinstance(head, dict) or not isinstance(head.get("files"), dict):
        raise BackupError(f"not a backup of a relay: it does not begin with {_HEAD}")
    if head["format"] > _FORMAT:
        raise BackupError("the backup was made by a newer checkout: restore it with that")
    return head


def _stays(member: tarfile.TarInfo) -> bool:
    """Whether a link leads to a place below the directory that the tree of its own part is in."""
    target = PurePosixPath(member.linkname)
    depth = len(PurePosixPath(member.name).parts) - 2
    return not target.is_absolute() and target.parts.count("..") <= max(depth - 1, 0)


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


def _add_text(archive: tarfile.TarFile, name: str, text: str) -> None:
    content = text.encode()
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(content), 0o600
    archive.addfile(member, io.BytesIO(content))


def _sum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
