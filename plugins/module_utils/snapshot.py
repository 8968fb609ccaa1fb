# SPDX-License-Identifier: GPL-3.0-or-later
"""What a relay runs, kept in a directory that only root reads, so that it can be put back: release and files."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .managed_files import sync_directory

__all__ = ["Snapshot", "SnapshotError", "put_back"]

_MANIFEST = "manifest.json"


class SnapshotError(Exception):
    """What was kept cannot be used; the text says what is missing."""


@dataclass(frozen=True)
class Snapshot:
    """A directory with copies of files and a list of them.

    Directories that are kept as a whole lose, when they are put back, what has come into them since.
    """

    directory: Path

    @classmethod
    def take(
        cls, directory: Path, release: str, files: Iterable[Path], whole: Iterable[Path] = (), **notes: Any
    ) -> Snapshot:
        """Keep these files, those of the directories `whole` among them, together with the name of the release.

        A file that is not there is kept as absent. notes: what else the list is to say, JSON-ready. The snapshot is
        there in full, and synced, or not at all.
        """
        staging = directory.with_name(f".{directory.name}.new")
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(parents=True, mode=0o700)
        whole = list(whole)
        paths = [*files, *(path for each in whole if each.is_dir() for path in sorted(each.iterdir()))]
        entries = [_copy(path, staging / f"{number:04d}") for number, path in enumerate(paths)]
        manifest = {**notes, "release": release, "whole": [str(path) for path in whole], "files": entries}
        _write(staging / _MANIFEST, (json.dumps(manifest, indent=2) + "\n").encode())
        sync_directory(staging)
        shutil.rmtree(directory, ignore_errors=True)
        staging.rename(directory)
        sync_directory(directory.parent)
        return cls(directory)

    def manifest(self) -> dict[str, Any]:
        """The list. Raises SnapshotError when it cannot be read."""
        try:
            manifest: dict[str, Any] = json.loads((self.directory / _MANIFEST).read_text(encoding="utf-8"))
            manifest["release"], manifest["files"], manifest["whole"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise SnapshotError(f"{self.directory} holds nothing that can be put back: {error!r}") from error
        return manifest

    @property
    def release(self) -> str:
        """The release that ran. Raises SnapshotError."""
        return str(self.manifest()["release"])

    def digest(self) -> str:
        """A hash of all that would be put back. Raises SnapshotError."""
        manifest = self.manifest()
        return hashlib.sha256(json.dumps([manifest["release"], manifest["files"]], sort_keys=True).encode()).hexdigest()

    def found(self) -> str:
        """A hash of what these files hold now, whatever is kept of them. Raises SnapshotError and OSError."""
        paths = [Path(entry["path"]) for entry in self.manifest()["files"]]
        now = [[str(path), hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else None] for path in paths]
        return hashlib.sha256(json.dumps(now).encode()).hexdigest()

    def put_back(self) -> list[Path]:
        """Have all files as they were; returns those that were otherwise. See the function `put_back`."""
        return put_back([self])

    def _beside(self, replacements: dict[Path, Path | None]) -> None:
        """Add the files that are otherwise, each with its copy, written beside it; None: it has to go."""
        manifest = self.manifest()
        known = {entry["path"] for entry in manifest["files"]}
        for entry in manifest["files"]:
            self._beside_one(entry, replacements)
        for name in manifest["whole"]:
            directory = Path(name)
            for path in sorted(directory.iterdir()) if directory.is_dir() else []:
                if str(path) not in known and path not in replacements.values():
                    replacements[path] = None

    def _beside_one(self, entry: dict[str, Any], replacements: dict[Path, Path | None]) -> None:
        path = Path(entry["path"])
        if entry["copy"] is None:
            if path.exists():
                replacements[path] = None
            return
        content = (self.directory / entry["copy"]).read_bytes()
        if hashlib.sha256(content).hexdigest() != entry["sha256"]:
            raise SnapshotError(f"the copy of {path} in {self.directory} is damaged")
        if path.is_file() and path.read_bytes() == content and _rights(path) == entry["rights"]:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.back")
        replacements[path] = temporary
        _write(temporary, content)
        user, group, mode = entry["rights"]
        os.chown(temporary, user, group)
        temporary.chmod(mode)

    def remove(self) -> None:
        """Forget it."""
        shutil.rmtree(self.directory, ignore_errors=True)


def put_back(snapshots: Sequence[Snapshot]) -> list[Path]:
    """Have the files of all these as they were; returns those that were otherwise. Raises SnapshotError and OSError.

    All are written and synced beside what is there before the first is replaced, each then in one step: a full disk or
    a damaged copy leaves everything as it is. Releases are not switched here.
    """
    replacements: dict[Path, Path | None] = {}
    try:
        for snapshot in snapshots:
            snapshot._beside(replacements)
        for path, temporary in replacements.items():
            if temporary is None:
                path.unlink()
            else:
                temporary.replace(path)
    except (OSError, SnapshotError):
        for temporary in filter(None, replacements.values()):
            temporary.unlink(missing_ok=True)
        raise
    for directory in {path.parent for path in replacements}:
        if directory.is_dir():
            sync_directory(directory)
    return list(replacements)


def _copy(path: Path, copy: Path) -> dict[str, Any]:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return {"path": str(path), "copy": None}
    _write(copy, content)
    digest = hashlib.sha256(content).hexdigest()
    return {"path": str(path), "copy": copy.name, "sha256": digest, "rights": _rights(path)}


def _rights(path: Path) -> list[int]:
    """Owner, group and mode."""
    found = path.stat()
    return [found.st_uid, found.st_gid, found.st_mode & 0o7777]


def _write(path: Path, content: bytes) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
