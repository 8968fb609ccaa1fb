# SPDX-License-Identifier: GPL-3.0-or-later
"""Which systems a relay can be put on, and what this host is."""

from __future__ import annotations

import platform
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

__all__ = ["SUPPORTED", "HostSystem", "UnsupportedSystem", "read_system"]

SUPPORTED = {("debian", "12"): "Debian 12 (bookworm)", ("debian", "13"): "Debian 13 (trixie)"}
"""``ID`` and ``VERSION_ID`` of os-release(5), and the name to show."""

OLDEST_PYTHON = (3, 11)


class UnsupportedSystem(Exception):
    """A relay cannot run here; the text says why and what would do."""


@dataclass(frozen=True)
class HostSystem:
    """What decides which release of the agent fits this host."""

    name: str
    python: str
    machine: str
    glibc: str


def read_system(root: Path = Path("/")) -> HostSystem:
    """What this host is. Raises UnsupportedSystem unless a relay can run on it."""
    release = _os_release(root)
    name = release.get("PRETTY_NAME") or release.get("ID") or "an unknown system"
    supported = " and ".join(SUPPORTED.values())
    if (release.get("ID", ""), release.get("VERSION_ID", "")) not in SUPPORTED:
        raise UnsupportedSystem(f"{name} is not supported; supported are {supported}")
    if not (root / "run/systemd/system").is_dir():
        raise UnsupportedSystem(f"{name} runs without systemd as its init; the relay's units need it")
    if sys.version_info < OLDEST_PYTHON:
        found = platform.python_version()
        raise UnsupportedSystem(
            f"{sys.executable} is Python {found}, the agent needs 3.11 or newer: unset or correct "
            "ansible_python_interpreter"
        )
    library, glibc = platform.libc_ver()
    if library != "glibc":
        raise UnsupportedSystem(f"the C library of {name} is not glibc; supported are {supported}")
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return HostSystem(name=name, python=version, machine=platform.machine(), glibc=glibc)


def _os_release(root: Path) -> dict[str, str]:
    """The file of os-release(5) as a dict; empty when there is none."""
    for place in ("etc/os-release", "usr/lib/os-release"):
        try:
            text = (root / place).read_text()
        except OSError:
            continue
        pairs = (line.partition("=") for line in text.splitlines() if "=" in line and not line.startswith("#"))
        return {key.strip(): "".join(shlex.split(value)) if '"' in value else value for key, _, value in pairs}
    return {}
