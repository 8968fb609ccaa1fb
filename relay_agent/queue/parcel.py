# SPDX-License-Identifier: GPL-3.0-or-later
"""A parcel: stores of a queue in one file, as they travel to another host or into a backup.

A tar archive. First `parcel.json`, which says what is in it; then for each store `<entry>/queue.db` and
`<entry>/bodies/<queue id>`; last `sums.json` with the SHA-256 of every file. An entry is named by an id of its own, by
which a host that has taken it in knows it again. Nothing is unpacked but what has a place in this form.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import tarfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from relay_agent.queue.directory import sync_directory
from relay_agent.queue.schema import SCHEMA_VERSION

__all__ = ["Entry", "ParcelError", "contents", "read_parcel", "unpack", "write_parcel"]

_FORMAT = 1
_HEAD, _SUMS = "parcel.json", "sums.json"
_FILE = re.compile(r"([0-9A-Z]{1,40})/(queue\.db|bodies/[0-9A-Za-z]{1,40})", re.ASCII)
_MOST_JSON = 1 << 26  # bytes of `parcel.json` and `sums.json`


class ParcelError(Exception):
    """The file is no parcel, or not whole; the text says what is wrong with it."""


@dataclass(frozen=True)
class Entry:
    """One store. id: its name, here and wherever it arrives. Bytes are those of the messages' content."""

    id: str
    messages: int
    recipients: int
    bytes: int


def write_parcel(stream: IO[bytes], host: str, stores: Sequence[tuple[Entry, Path]]) -> None:
    """Pack store directories that nobody changes meanwhile. Raises OSError."""
    sums: dict[str, str] = {}
    with tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        head = {
            "format": _FORMAT,
            "schema": SCHEMA_VERSION,
            "host": host,
            "made": time.time(),
            "entries": [asdict(entry) for entry, _ in stores],
        }
        _add(archive, _HEAD, json.dumps(head).encode())
        for entry, root in stores:
            for path in [root / "queue.db", *sorted((root / "bodies").iterdir())]:
                name = f"{entry.id}/{path.relative_to(root)}"
                member = tarfile.TarInfo(name)
                member.size, member.mode = path.stat().st_size, 0o600
                with path.open("rb") as file:
                    reading = _Summing(file)
                    archive.addfile(member, reading)
                sums[name] = reading.sum.hexdigest()
        _add(archive, _SUMS, json.dumps(sums).encode())


def contents(stream: IO[bytes]) -> tuple[str, list[Entry]]:
    """The host that a parcel comes from, and its stores. Raises ParcelError."""
    with _opened(stream) as archive:
        return _head(archive)


def read_parcel(stream: IO[bytes]) -> Iterator[tuple[str, IO[bytes]]]:
    """Each file of the parcel by its name, to be read before the next is asked for.

    Raises ParcelError when it is not a parcel, or, at its end, when anything is missing or not as it was packed.
    """
    with _opened(stream) as archive:
        _head(archive)
        seen: dict[str, str] = {}
        while (member := _next(archive)) is not None:
            content = archive.extractfile(member) if member.isreg() else None
            if content is None:
                raise ParcelError(f"{member.name} has no place in a parcel of mail")
            if member.name == _SUMS:
                if _json(content) != seen:
                    raise ParcelError("the parcel is damaged: what is in it is not what was packed")
                return
            if not _FILE.fullmatch(member.name) or member.name in seen:
                raise ParcelError(f"{member.name} has no place in a parcel of mail")
            reading = _Summing(content)
            yield member.name, reading  # type: ignore[misc]
            while reading.read(1 << 20):
                pass
            seen[member.name] = reading.sum.hexdigest()
        raise ParcelError("the parcel is cut short")


def unpack(stream: IO[bytes], directory: Path, wanted: set[str]) -> None:
    """Write the wanted entries below `directory`, synced. Raises ParcelError and OSError; what is there then is
    not to be used."""
    made: set[Path] = set()
    for name, content in read_parcel(stream):
        entry, _, rest = name.partition("/")
        if entry not in wanted:
            continue
        path = directory / entry / rest
        for parent in (directory / entry, directory / entry / "bodies"):
            parent.mkdir(mode=0o700, exist_ok=True)
            made.add(parent)
        with path.open("xb") as file:
            path.chmod(0o600)
            shutil.copyfileobj(content, file, 1 << 20)
            file.flush()
            os.fsync(file.fileno())
    for parent in made:
        sync_directory(parent)
    sync_directory(directory)
    for entry in wanted:
        if not (directory / entry / "queue.db").is_file():
            raise ParcelError(f"the parcel does not have the store {entry} that it names")


def _opened(stream: IO[bytes]) -> tarfile.TarFile:
    try:
        return tarfile.open(fileobj=stream, mode="r|")
    except tarfile.TarError as error:
        raise ParcelError(f"not a parcel of mail: {error}") from error


def _next(archive: tarfile.TarFile) -> tarfile.TarInfo | None:
    try:
        return archive.next()
    except tarfile.TarError as error:
        raise ParcelError(f"the parcel is damaged: {error}") from error


def _head(archive: tarfile.TarFile) -> tuple[str, list[Entry]]:
    try:
        member = archive.next()
        content = archive.extractfile(member) if member is not None and member.name == _HEAD else None
    except tarfile.TarError as error:
        raise ParcelError(f"not a parcel of mail: {error}") from error
    if content is None:
        raise ParcelError(f"not a parcel of mail: it does not begin with {_HEAD}")
    head = _json(content)
    try:
        form, schema = int(head["format"]), int(head["schema"])
        entries = [Entry(**each) for each in head["entries"]]
        host = str(head["host"])
    except (KeyError, TypeError, ValueError) as error:
        raise ParcelError(f"not a parcel of mail: {_HEAD} is not understood ({error})") from error
    if form > _FORMAT or schema > SCHEMA_VERSION:
        raise ParcelError(
            f"the parcel is of a newer release (schema {schema}, this release knows {SCHEMA_VERSION}): "
            "bring this host to that release first"
        )
    return host, entries


def _json(content: IO[bytes]) -> dict[str, Any]:
    try:
        value = json.loads(content.read(_MOST_JSON))
    except ValueError as error:
        raise ParcelError(f"the parcel is damaged: {error}") from error
    if not isinstance(value, dict):
        raise ParcelError("the parcel is damaged")
    return value


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(content), 0o600
    archive.addfile(member, io.BytesIO(content))


class _Summing:
    """A file that is read once; `sum` is the SHA-256 of what was read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.sum = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        try:
            block = self._file.read(size)
        except tarfile.TarError as error:
            raise ParcelError(f"the parcel is damaged: {error}") from error
        self.sum.update(block)
        return block
