# SPDX-License-Identifier: GPL-3.0-or-later
"""The relays that were met before: their keys and ports, in a file of the user's.

Once the relay was met in a network that is honest, an interceptor is recognised in one that is not, also where this
machine does not know the relay's authority.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Known", "default_file", "load", "remember"]

_MOST_KEYS = 4  # the present one, the next, and some past


@dataclass(frozen=True, slots=True)
class Known:
    """keys: the latest first. ports: as the relay named them."""

    keys: tuple[str, ...] = ()
    ports: tuple[tuple[int, str], ...] = ()


def default_file() -> Path | None:
    """Where such things are kept on this system; None for a user without a home."""
    try:
        return _base() / "postroad" / "relays.json"
    except RuntimeError:  # of Path.home()
        return None


def _base() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support"
    # The specification wants a path that is not absolute to be ignored.
    named = os.environ.get("XDG_STATE_HOME", "")
    return Path(named) if named.startswith("/") else Path.home() / ".local" / "state"


def load(file: Path, host: str) -> Known:
    """What is known of a host; nothing when the file is not there or cannot be read."""
    entry: Any = _read(file).get(host.lower())
    try:
        keys = tuple(str(key) for key in entry["keys"])[:_MOST_KEYS]
        return Known(keys, tuple((int(port), str(mode)) for port, mode in entry["ports"]))
    except (TypeError, KeyError, ValueError):
        return Known()


def remember(file: Path, host: str, key: str, ports: tuple[tuple[int, str], ...]) -> None:
    """Keep a key that has proved itself. Raises OSError."""
    before = load(file, host)
    if before.keys[:1] == (key,) and before.ports == ports:
        return
    keys = [key, *(each for each in before.keys if each != key)][:_MOST_KEYS]
    everything = _read(file) | {host.lower(): {"keys": keys, "ports": [list(port) for port in ports]}}
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=".relays-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            json.dump(everything, stream, indent=2)
        Path(name).replace(file)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise


def _read(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
