# SPDX-License-Identifier: GPL-3.0-or-later
"""``relay-agent queue export``: messages as files, with their envelopes beside them."""

from __future__ import annotations

import argparse
import base64
import io
import json
import os
import re
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Protocol

from relay_agent.control.protocol import NOT_FOUND, ControlError

from .asking import Asking
from .selected import UsageError, many, selection, watched
from .terminal import complain, print_json

__all__ = ["export"]

_ID = re.compile(r"[0-9A-Za-z]{1,40}", re.ASCII)


class _Target(Protocol):
    """Where files go."""

    def add(self, name: str, content: IO[bytes], size: int, modified: float) -> None: ...


def export(arguments: argparse.Namespace) -> int:
    """Copy messages into a directory or an archive."""
    chosen = selection(arguments)
    if arguments.tar and sys.stdout.isatty():
        raise UsageError("--tar writes an archive to standard output: send it to a file or another program")
    if arguments.tar and arguments.json:
        raise UsageError("--json and --tar both write to standard output")
    asking = Asking(arguments.config)
    if arguments.to is None:
        # Not seekable: a pipe is what it is for.
        with tarfile.open(fileobj=sys.stdout.buffer, mode="w|", format=tarfile.PAX_FORMAT) as archive:
            written, left = _copy(asking, chosen, _Archive(archive))
    else:
        written, left = _copy(asking, chosen, _Directory(arguments.to, asking))
    unknown = [each.upper() for each in arguments.ids if each.upper() not in written and each.upper() not in left]
    if arguments.json:
        print_json({"messages": len(written), "ids": written, "left": left, "unknown": unknown})
    elif arguments.to is not None:
        print(f"{many(len(written), 'message')} written to {arguments.to}")
    if left:
        complain(f"{many(len(left), 'message')} left the queue before they were written")
    for queue_id in unknown:
        complain(f"{queue_id} is not in the queue")
    return 1 if unknown else 0


def _copy(asking: Asking, chosen: dict[str, Any], target: _Target) -> tuple[list[str], list[str]]:
    written, left = [], []
    for message in watched(asking.stream("queue.matches", selection=chosen), "export"):
        queue_id = str(message["id"])
        if not _ID.fullmatch(queue_id):
            raise ControlError("failed", "the agent names a message that cannot be a file")
        with tempfile.SpooledTemporaryFile(max_size=8 << 20) as content:
            try:
                for piece in _pieces(asking, queue_id):
                    content.write(piece)
            except ControlError as error:
                if error.code != NOT_FOUND:
                    raise
                left.append(queue_id)
                continue
            size = content.tell()
            content.seek(0)
            target.add(f"{queue_id}.eml", content, size, message["created"])
        envelope = json.dumps(message, indent=2, ensure_ascii=True).encode() + b"\n"
        target.add(f"{queue_id}.json", io.BytesIO(envelope), len(envelope), message["created"])
        written.append(queue_id)
    return written, left


def _pieces(asking: Asking, queue_id: str) -> Iterator[bytes]:
    offset, more = 0, True
    while more:
        answer = asking.call("queue.read", id=queue_id, offset=offset)
        piece = base64.b64decode(answer["content"])
        yield piece
        offset += len(piece)
        more = answer["more"] and bool(piece)


class _Directory:
    def __init__(self, directory: Path, asking: Asking) -> None:
        new = not directory.exists()
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        if new:
            asking.handed_over.append(self._fd)

    def add(self, name: str, content: IO[bytes], size: int, modified: float) -> None:
        # By the descriptor, as this process may be another user by now; a link in the way is not followed.
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(name, flags, 0o600, dir_fd=self._fd), "wb") as file:
            while block := content.read(1 << 20):
                file.write(block)


class _Archive:
    def __init__(self, archive: tarfile.TarFile) -> None:
        self._archive = archive

    def add(self, name: str, content: IO[bytes], size: int, modified: float) -> None:
        entry = tarfile.TarInfo(name)
        entry.size, entry.mtime, entry.mode = size, int(modified), 0o600
        self._archive.addfile(entry, content)
