# SPDX-License-Identifier: GPL-3.0-or-later
"""Mail that moves to another host, or into a backup: whole stores, with everything that they know of each message.

<directory>/leaving/<entry>/      a store on its way out: nobody delivers from it any more
            arriving/<entry>/     a store that came in whole, and is about to get its number
            arrived/<entry>.json  which stores came in, and under which number

A store leaves by a rename before a copy of it is made, and is removed only after the other host has said that it has
it. It arrives by a rename, after the note in `arrived` was synced. Whatever is cut off in between is done again from
where it stood; the note keeps the same store from arriving twice. So mail is never lost and never in two queues.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO

from relay_agent.queue.directory import StoreDirectory, sync_directory
from relay_agent.queue.lock import store_numbers
from relay_agent.queue.model import QueueDamagedError, new_queue_id
from relay_agent.queue.older import close_all, schema_of
from relay_agent.queue.parcel import Entry, contents, unpack
from relay_agent.queue.schema import SCHEMA_VERSION, StoreVersionError, connect
from relay_agent.whole_file import locked_directory, replace_file

__all__ = ["Arrival", "arrive", "forget", "leave", "leaving", "snapshot"]

_FIRST_NUMBER = 1000  # of stores that came in: far from those that workers make for themselves
_LOCKED_FOR = 60.0  # seconds that another arrival may take


@dataclass
class Arrival:
    """What came in. messages, recipients: without those in `known`. known: messages that were here already, left out.
    before: stores that had arrived earlier, left out."""

    host: str = ""
    stores: int = 0
    messages: int = 0
    recipients: int = 0
    known: int = 0
    before: list[str] = field(default_factory=list)


def leaving(directory: Path) -> list[tuple[Entry, Path]]:
    """Stores that were taken out of use by `leave`, and not yet forgotten."""
    root = directory / "leaving"
    return [(_entry(path.name, path), path) for path in sorted(root.iterdir())] if root.is_dir() else []


def leave(directory: Path) -> list[tuple[Entry, Path]]:
    """Take every store with mail in it out of use; they, and those of an earlier call, are what is to be packed.

    The caller holds the `QueueLock`. Raises what JournaledStore raises.
    """
    close_all(directory)
    root = directory / "leaving"
    _make(root)
    for number in store_numbers(directory):
        store = StoreDirectory(directory, number)
        try:
            if not _entry("", store.root).messages:
                continue
            _settle(store.database)
            shutil.rmtree(store.spool)
            shutil.rmtree(store.journal)
            store.root.rename(root / new_queue_id())
            sync_directory(root)
            sync_directory(directory)
        finally:
            store.close()
    return leaving(directory)


def forget(directory: Path, entries: Sequence[str]) -> int:
    """Remove stores that another host has said to have; how many messages these were. Those that are not leaving, or
    not any more, are passed over."""
    messages = 0
    for entry, path in leaving(directory):
        if entry.id in entries:
            messages += entry.messages
            _remove_store(directory, path)
    return messages


def _remove_store(directory: Path, path: Path) -> None:
    """Remove a store's mail; what was set aside as damaged stays, in `set-aside`, as it did not travel along."""
    for name in ("bodies", "spool", "journal"):
        shutil.rmtree(path / name, ignore_errors=True)
    for name in ("queue.db", "queue.db-wal", "queue.db-shm", "suspect", "lock"):
        (path / name).unlink(missing_ok=True)
    if any(path.iterdir()):
        _make(directory / "set-aside")
        path.rename(directory / "set-aside" / path.name)
        sync_directory(directory / "set-aside")
    else:
        path.rmdir()
    sync_directory(path.parent)


@contextlib.contextmanager
def snapshot(directory: Path) -> Iterator[list[tuple[Entry, Path]]]:
    """Copies of the databases of all stores with mail, at one moment each, and of their bodies by hard links.

    Works while the agent runs; what is in a journal is not seen, so the caller has it moved first. A message that has
    left its store while this looked is in no copy.
    """
    root = directory / f"copying-{os.getpid()}"
    for left in directory.glob("copying-*"):  # by one that was killed
        if left == root or not Path("/proc", left.name.removeprefix("copying-")).exists():
            shutil.rmtree(left, ignore_errors=True)
    _make(root)
    try:
        found = []
        for number in store_numbers(directory):
            source = directory / str(number)
            if not schema_of(source / "queue.db"):
                continue
            path = root / new_queue_id()
            _copy(source, path)
            if (entry := _entry(path.name, path)).messages:
                found.append((entry, path))
        yield found
    finally:
        shutil.rmtree(root, ignore_errors=True)


def arrive(directory: Path, open_parcel: Callable[[], IO[bytes]]) -> Arrival:
    """Take a parcel's stores in; whichever agent has this queue delivers them from then on.

    open_parcel: opens the file from its beginning. Raises ParcelError, StoreVersionError, QueueDamagedError, OSError;
    nothing came in then that a repetition would bring in again.
    """
    for name in ("arriving", "arrived"):
        _make(directory / name)
    with locked_directory(directory / "arriving", _LOCKED_FOR):
        with open_parcel() as stream:
            host, entries = contents(stream)
        arrival = Arrival(host)
        for path in (directory / "arriving").iterdir():
            if not _note(directory, path.name).exists():
                shutil.rmtree(path)  # of an arrival that was cut off before it was whole
        new = [each for each in entries if not _note(directory, each.id).exists()]
        arrival.before = [each.id for each in entries if each not in new and not _place(directory, each.id).exists()]
        if new:
            with open_parcel() as stream:
                unpack(stream, directory / "arriving", {each.id for each in new})
        for entry in entries:
            if entry.id not in arrival.before:
                _take_in(directory, entry, arrival)
    return arrival


def _take_in(directory: Path, entry: Entry, arrival: Arrival) -> None:
    path, note = _place(directory, entry.id), _note(directory, entry.id)
    if not note.exists():
        version = schema_of(path / "queue.db")
        if version > SCHEMA_VERSION:
            raise StoreVersionError(f"{path}: schema {version}, and this release knows {SCHEMA_VERSION}")
        if _entry(entry.id, path) != entry:
            raise QueueDamagedError(f"{path}: does not have the messages that the parcel names")
        known = _leave_out_known(directory, path)
        rest = _entry(entry.id, path)
        number = max([_FIRST_NUMBER - 1, *store_numbers(directory), *_numbers_given(directory)]) + 1
        said = {"number": number, "host": arrival.host, "known": known, **asdict(rest)}
        replace_file(note, json.dumps(said).encode() + b"\n")
    said = json.loads(note.read_text(encoding="utf-8"))
    path.rename(directory / str(said["number"]))
    sync_directory(path.parent)
    sync_directory(directory)
    arrival.stores += 1
    arrival.messages += said["messages"]
    arrival.recipients += said["recipients"]
    arrival.known += said["known"]


def _leave_out_known(directory: Path, path: Path) -> int:
    """Remove messages from an arriving store that wait in one of this host's already; how many."""
    connection = connect(path / "queue.db")
    known = 0
    try:
        for number in store_numbers(directory):
            database = directory / str(number) / "queue.db"
            if not schema_of(database):
                continue
            connection.execute("ATTACH ? AS here", (str(database),))
            found = connection.execute(
                "SELECT seq, queue_id FROM main.messages WHERE queue_id IN (SELECT queue_id FROM here.messages)"
            ).fetchall()
            connection.execute("DETACH here")
            _remove(connection, [seq for seq, _ in found])
            known += len(found)
        _flatten(connection)
    finally:
        connection.close()
    return known


def _remove(connection: sqlite3.Connection, seqs: Sequence[int]) -> None:
    connection.execute("BEGIN IMMEDIATE")
    for seq in seqs:
        connection.execute("DELETE FROM recipients WHERE message = ?", (seq,))
        connection.execute("DELETE FROM messages WHERE seq = ?", (seq,))
    connection.execute(
        "UPDATE totals SET messages = (SELECT count(*) FROM messages), recipients = (SELECT count(*) FROM recipients), "
        "bytes = (SELECT coalesce(sum(size), 0) FROM messages)"
    )
    connection.execute("COMMIT")


def _copy(source: Path, path: Path) -> None:
    (path / "bodies").mkdir(mode=0o700, parents=True)
    origin, copy = connect(source / "queue.db"), connect(path / "queue.db")
    try:
        origin.backup(copy)
        gone = []
        for seq, queue_id in copy.execute("SELECT seq, queue_id FROM messages WHERE file_offset IS NOT NULL"):
            try:
                os.link(source / "bodies" / queue_id, path / "bodies" / queue_id)
            except FileNotFoundError:
                gone.append(seq)
        _remove(copy, gone)
        _flatten(copy)
    finally:
        origin.close()
        copy.close()


def _settle(database: Path) -> None:
    """Have all of a closed database in its one file."""
    connection = connect(database)
    try:
        _flatten(connection)
    finally:
        connection.close()


def _flatten(connection: sqlite3.Connection) -> None:
    (mode,) = connection.execute("PRAGMA journal_mode = DELETE").fetchone()
    if mode != "delete":
        raise QueueDamagedError(f"the queue's database cannot be closed (journal mode {mode})")


def _entry(name: str, root: Path) -> Entry:
    if not schema_of(root / "queue.db"):
        return Entry(name, 0, 0, 0)
    connection = connect(root / "queue.db")
    try:
        messages, size = connection.execute("SELECT count(*), coalesce(sum(size), 0) FROM messages").fetchone()
        (recipients,) = connection.execute("SELECT count(*) FROM recipients").fetchone()
    finally:
        connection.close()
    return Entry(name, messages, recipients, size)


def _note(directory: Path, entry: str) -> Path:
    return directory / "arrived" / f"{entry}.json"


def _place(directory: Path, entry: str) -> Path:
    return directory / "arriving" / entry


def _numbers_given(directory: Path) -> list[int]:
    return [json.loads(path.read_text("utf-8"))["number"] for path in (directory / "arrived").glob("*.json")]


def _make(path: Path) -> None:
    path.mkdir(mode=0o700, exist_ok=True)
