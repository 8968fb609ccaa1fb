# SPDX-License-Identifier: GPL-3.0-or-later
"""The configuration as the supervisor has it: its text, so that every worker gets the same, and what it means."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import socket
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from relay_agent.config.load import ConfigError, inspect_config, load_config, parse_config, read_config
from relay_agent.config.schema import Config
from relay_agent.drained import Drained, drained
from relay_agent.submission.listeners import ListenError
from relay_agent.supervisor.ports import Ports
from relay_agent.supervisor.replacement import check_command

__all__ = ["Settings", "changed_beyond_reload", "check_release", "host_warnings"]

_CHECK_WITHIN = 60.0  # seconds


@dataclass
class Settings:
    """path: the file. text: what stood in it. problems: why a newer text is not used, in words. drained: whether, and
    since when, the host takes no mail."""

    path: Path
    text: str
    config: Config
    problems: list[str] = field(default_factory=list)
    drained: Drained | None = None

    @classmethod
    def read(cls, path: Path) -> Settings:
        """The file as it is now, checked together with what it names. Raises ConfigError."""
        load_config(path)
        text = path.read_text("utf-8-sig")
        return cls(path, text, parse_config(text, str(path)), drained=drained(path))

    @classmethod
    def resume(cls, path: Path, state: dict[str, Any]) -> tuple[Settings, Ports]:
        """What the file says now, with its ports; if that cannot be, what the earlier program went by.

        The earlier program has had the file checked, but it may have changed since, or a port be taken.
        """
        try:
            settings = cls.read(path)
            problems = [
                f"{path}: {key}: is changed by a restart only"
                for key in ("queue", "control")
                if getattr(settings.config, key) != getattr(parse_config(state["text"], str(path)), key)
            ]
            if not problems:
                return settings, settings.open_ports(state["listening"])
        except ConfigError as error:
            problems = str(error).splitlines()
        except ListenError as error:
            problems = [str(error)]
        config = parse_config(state["text"], str(path))
        settings = cls(path, state["text"], config, problems, drained(path))
        return settings, settings.open_ports(state["listening"])

    def open_ports(self, handed: Iterable[int] = ()) -> Ports:
        """The sockets of the listeners, none on a drained host; see `Ports.open`."""
        return Ports.open(self.config, handed, drained=self.drained is not None)

    @property
    def workers(self) -> int:
        """How many worker processes there are to be."""
        return self.config.process.workers or _cores()

    @property
    def digest(self) -> str:
        """SHA-256 of the text that is in use, hexadecimal."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def export(self) -> dict[str, Any]:
        """What `resume` needs, JSON-ready."""
        return {"text": self.text}

    @staticmethod
    def control_socket(state: dict[str, Any]) -> socket.socket:
        """The control socket that an earlier program of this process listened on."""
        os.set_inheritable(state["control"], False)
        return socket.socket(fileno=state["control"])


def _cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0))


def host_warnings(settings: Settings) -> list[str]:
    """What is not wrong but should be known, in words."""
    return [str(warning) for warning in inspect_config(settings.path).warnings]


def changed_beyond_reload(settings: Settings) -> list[str]:
    """What a reload cannot change: workers that end hand their mail on below one directory, under one lock."""
    try:
        config = read_config(settings.path)
    except ConfigError:
        return []  # a newer release may understand it; it has checked it
    return [
        f"{settings.path}: {key}: is changed by a restart only"
        for key in ("queue", "control")
        if getattr(config, key) != getattr(settings.config, key)
    ]


async def check_release(path: Path, *, changed: bool) -> list[str]:
    """What would keep the current release from running with this file; nothing changes.

    changed: the current release is another one than this program's, and has to say for itself.
    """
    if not changed:
        inspection = await asyncio.to_thread(inspect_config, path)
        return [str(problem) for problem in inspection.problems]
    return await asyncio.to_thread(_ask_release, path)


def _ask_release(path: Path) -> list[str]:
    try:
        done = subprocess.run(
            check_command(path),
            capture_output=True,
            text=True,
            timeout=_CHECK_WITHIN,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        answer = json.loads(done.stdout)
        problems = [": ".join(part for part in each.values() if part) for each in answer["problems"]]
        good = answer["good"] and done.returncode == 0
    except (OSError, subprocess.TimeoutExpired) as error:
        return [f"the current release cannot be asked: {error}"]
    except (ValueError, KeyError, TypeError):
        return [f"the current release does not work: {(done.stderr or done.stdout).strip()[-500:]}"]
    return problems or ([] if good else ["the current release refuses the configuration without a reason"])
