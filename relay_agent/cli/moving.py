# SPDX-License-Identifier: GPL-3.0-or-later
"""``relay-agent queue count``, ``pack``, ``unpack``, ``handed-over`` and ``downgrade``: mail that moves as a whole."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from relay_agent.config.load import read_config
from relay_agent.config.schema import Config
from relay_agent.control.client import AgentNotRunningError, ControlClient
from relay_agent.control.protocol import FAILED, ControlError

from .asking import Asking, become_owner
from .selected import many
from .terminal import print_json

__all__ = ["count", "downgrade", "handed_over", "pack", "unpack"]


def count(arguments: argparse.Namespace) -> int:
    """How much waits, and how much is on its way to another host."""
    config = read_config(arguments.config)
    try:
        found = dict(ControlClient(config.control.socket, timeout=60.0).call("status")["queue"])
    except AgentNotRunningError:
        found = _count_on_disk(arguments.config)
    with _moving(config):
        from relay_agent.queue.moving import leaving

        found["leaving"] = sum(entry.messages for entry, _ in leaving(config.queue.directory))
    if arguments.json:
        print_json(found)
    else:
        on_its_way = f", {found['leaving']:,} being handed over" if found["leaving"] else ""
        print(
            f"{many(found['messages'], 'message')} for {many(found['recipients'], 'recipient')}, "
            f"{found['held']:,} held{on_its_way}"
        )
    return 0


def _count_on_disk(config: Path) -> dict[str, Any]:
    asking = Asking(config)
    answers = []
    for chosen in ({}, {"held": True}):
        result: dict[str, Any] = {"messages": 0, "recipients": 0}
        for item in asking.stream("queue.change", action="count", selection=chosen):
            result = item.get("done", result)
        answers.append(result)
    every, held = answers
    return {"messages": every["messages"], "recipients": every["recipients"], "held": held["recipients"]}


def pack(arguments: argparse.Namespace) -> int:
    """Write the queue's stores into a file: a copy, or with --leave the mail itself."""
    asking = Asking(arguments.config)
    config = asking.config
    with _new_file(arguments.to) as stream:
        if not arguments.leave:
            for _ in asking.stream("queue.list", limit=1):  # has everything moved from the journals
                pass
        with _moving(config, stopped=arguments.leave):
            from relay_agent.queue import moving
            from relay_agent.queue.parcel import write_parcel

            directory = config.queue.directory
            if arguments.leave:
                stores = moving.leave(directory)
                write_parcel(stream, config.hostname, stores)
            else:
                with moving.snapshot(directory) as stores:
                    write_parcel(stream, config.hostname, stores)
        stream.flush()
        os.fsync(stream.fileno())
    entries = [entry for entry, _ in stores]
    result: dict[str, Any] = {
        "entries": [entry.id for entry in entries],
        "messages": sum(entry.messages for entry in entries),
        "recipients": sum(entry.recipients for entry in entries),
        "bytes": sum(entry.bytes for entry in entries),
    }
    if arguments.json:
        print_json(result)
    else:
        print(f"{many(result['messages'], 'message')} written to {arguments.to}")
    return 0


def unpack(arguments: argparse.Namespace) -> int:
    """Take a parcel's mail into the queue."""
    asking = Asking(arguments.config)
    config = asking.config
    with arguments.file.open("rb") as parcel:
        for _ in asking.stream("queue.list", limit=1):  # what is here already is looked for in the databases
            pass

        def again() -> IO[bytes]:
            copy = os.fdopen(os.dup(parcel.fileno()), "rb")
            copy.seek(0)
            return copy

        with _moving(config):
            from relay_agent.queue.moving import arrive

            arrival = arrive(config.queue.directory, again)
    result = {
        "host": arrival.host,
        "stores": arrival.stores,
        "messages": arrival.messages,
        "recipients": arrival.recipients,
        "known": arrival.known,
        "before": arrival.before,
    }
    if arguments.json:
        print_json(result)
        return 0
    print(f"{many(arrival.messages, 'message')} of {arrival.host} taken into the queue")
    if arrival.known:
        print(f"{many(arrival.known, 'message')} left out: they wait in this queue already")
    if arrival.before:
        print(f"{many(len(arrival.before), 'store')} left out: they have been taken in here before")
    return 0


def handed_over(arguments: argparse.Namespace) -> int:
    """Remove what another host has said to have."""
    config = read_config(arguments.config)
    with _moving(config):
        from relay_agent.queue.moving import forget

        messages = forget(config.queue.directory, arguments.entries)
    if arguments.json:
        print_json({"messages": messages})
    else:
        print(f"{many(messages, 'message')} removed here")
    return 0


def downgrade(arguments: argparse.Namespace) -> int:
    """Bring the queue to the schema of an earlier release."""
    config = read_config(arguments.config)
    with _moving(config, stopped=True):
        from relay_agent.queue.older import downgrade as lower

        changed = lower(config.queue.directory, arguments.schema)
    if arguments.json:
        print_json({"stores": changed, "schema": arguments.schema})
    else:
        print(f"{many(len(changed), 'store')} brought to schema {arguments.schema}")
    return 0


@contextmanager
def _moving(config: Config, *, stopped: bool = False) -> Iterator[None]:
    """As the queue's owner; what goes wrong becomes a ControlError. stopped: no agent may run, and none may start."""
    # Imported as whoever started us: the queue's owner may not be able to read this Python.
    from relay_agent.queue import moving, older, parcel  # noqa: F401
    from relay_agent.queue.directory import StoreLockedError
    from relay_agent.queue.lock import QueueLock
    from relay_agent.queue.model import QueueDamagedError, QueueFullError
    from relay_agent.queue.schema import StoreVersionError

    become_owner(config.queue.directory)
    lock = None
    try:
        lock = QueueLock(config.queue.directory) if stopped else None
        yield
    except StoreLockedError as error:
        raise ControlError(FAILED, f"{error}; stop relay-agent.socket and relay-agent.service first") from error
    except (QueueDamagedError, QueueFullError, StoreVersionError, parcel.ParcelError) as error:
        raise ControlError(FAILED, str(error)) from error
    finally:
        if lock is not None:
            lock.close()


@contextmanager
def _new_file(path: Path) -> Iterator[IO[bytes]]:
    """A file that only its maker reads, written anew."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as stream:
        os.fchmod(fd, 0o600)
        yield stream
