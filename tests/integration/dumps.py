# SPDX-License-Identifier: GPL-3.0-or-later
"""The files that smtp-sink writes, one for each message."""

from __future__ import annotations

import subprocess
from pathlib import Path

__all__ = ["whole_dumps"]


def whole_dumps(directory: Path, sink: subprocess.Popen[bytes] | None) -> list[Path]:
    """The files of messages that have come in to their last byte, in no order.

    smtp-sink makes a file at the beginning of a message and writes as blocks come in: until it closes the file, that
    holds part of it. sink: None when it has ended.
    """
    # First the names, then what is open: a file that comes in between is not looked at.
    found = list(directory.iterdir())
    writing = _open_files(sink.pid) if sink is not None and sink.poll() is None else set()
    # One that was cut off in its message's head is empty.
    return [path for path in found if path.resolve() not in writing and path.stat().st_size]


def _open_files(pid: int) -> set[Path]:
    files: set[Path] = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            files.add(link.readlink())
        except FileNotFoundError:  # closed meanwhile
            continue
    return files
