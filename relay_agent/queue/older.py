# SPDX-License-Identifier: GPL-3.0-or-later
"""The way back: a store's database in the schema of an earlier release, for when that release shall run again.

Every migration of `schema` has its reverse here. A store that is closed has an empty journal, so the database is all
that has to be changed; it is changed in one transaction, so a store is in one schema or in the other.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path

from relay_agent.queue.directory import StoreDirectory
from relay_agent.queue.holdings import open_all
from relay_agent.queue.lock import store_numbers
from relay_agent.queue.model import QueueDamagedError
from relay_agent.queue.schema import APPLICATION_ID, SCHEMA_VERSION, StoreVersionError, connect

__all__ = ["REVERSALS", "close_all", "downgrade", "schema_of"]


def _without_lanes(connection: sqlite3.Connection) -> None:
    """To version 1. Nothing is lost: a lane says nothing that the envelope does not."""
    connection.execute("DROP INDEX recipients_lane")
    connection.execute("ALTER TABLE recipients DROP COLUMN lane")


#: From version n to n - 1; each runs in the transaction that lowers `user_version`.
REVERSALS: Mapping[int, Callable[[sqlite3.Connection], None]] = {2: _without_lanes}


def schema_of(database: Path) -> int:
    """The schema of a database; 0 for one that is not there or empty. Raises QueueDamagedError for a foreign one."""
    if not database.exists() or not database.stat().st_size:
        return 0
    connection = connect(database)
    try:
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
    except sqlite3.DatabaseError as error:
        raise QueueDamagedError(f"{database}: {error}") from error
    finally:
        connection.close()
    if application != APPLICATION_ID:
        raise QueueDamagedError(f"{database}: not a queue of this agent (application id {application:#x})")
    return int(version)


def close_all(directory: Path, patience: float = 10.0) -> None:
    """Open every store and close it again: what a journal still holds is in the database then. Blocks.

    Raises what JournaledStore raises, and QueueDamagedError when a journal is not empty afterwards.
    """
    if not store_numbers(directory):
        return

    async def close() -> None:
        for store in await asyncio.to_thread(open_all, directory, patience):
            await store.close()

    asyncio.run(close())
    for number in store_numbers(directory):
        if _journal(directory / str(number)):
            raise QueueDamagedError(
                f"{directory / str(number) / 'journal'}: mail is left in it; start the agent, and look into its log"
            )


def _journal(root: Path) -> list[Path]:
    path = root / "journal"
    return list(path.iterdir()) if path.is_dir() else []


def downgrade(directory: Path, version: int) -> list[int]:
    """Bring every store below a queue directory to an older schema; the numbers of those that were changed.

    The caller holds the `QueueLock`. Raises StoreVersionError for a schema that cannot be written, and what
    JournaledStore raises.
    """
    oldest = min(REVERSALS) - 1
    if not oldest <= version <= SCHEMA_VERSION:
        raise StoreVersionError(f"schema {version} cannot be written: this release knows {oldest} to {SCHEMA_VERSION}")
    stores = [directory / str(number) for number in store_numbers(directory)]
    if not any(schema_of(root / "queue.db") > version or _journal(root) for root in stores):
        return []
    close_all(directory)
    changed = []
    for number in store_numbers(directory):
        store = StoreDirectory(directory, number)
        try:
            if _lower(store.database, version):
                changed.append(number)
        finally:
            store.close()
    return changed


def _lower(database: Path, version: int) -> bool:
    if schema_of(database) <= version:
        return False
    connection = connect(database)
    try:
        connection.execute("BEGIN IMMEDIATE")
        try:
            (current,) = connection.execute("PRAGMA user_version").fetchone()
            for step in range(current, version, -1):
                REVERSALS[step](connection)
            connection.execute(f"PRAGMA user_version = {version}")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        connection.close()
    return True
