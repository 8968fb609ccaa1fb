# SPDX-License-Identifier: GPL-3.0-or-later
"""A process that replaces its own program: same pid, same descriptors, what it knows handed over in memory.

Signals are blocked from before the `exec` until the new program has its handlers, so that one that arrives in
between waits instead of ending the process.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

__all__ = ["SIGNALS", "check_command", "program", "received_state", "release", "replace_program"]

SIGNALS = (signal.SIGHUP, signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)
_VARIABLE = "POSTROAD_STATE"


def program() -> tuple[str, list[str]]:
    """What to execute to become the current release: file and arguments.

    Started by its script, that is the path it was started by: a link on the way to it (``current``) leads to the
    release of now, and its first line to that release's interpreter.
    """
    script = Path(sys.argv[0])
    if script.name != "__main__.py" and script.is_absolute() and os.access(script, os.X_OK):
        return str(script), list(sys.argv)
    return sys.executable, [sys.executable, *sys.orig_argv[1:]]


def check_command(config: Path) -> list[str]:
    """The current release's own check of a configuration file."""
    file, _ = program()
    command = [file] if file != sys.executable else [sys.executable, "-m", "relay_agent"]
    return [*command, "check-config", "--json", str(config)]


def release() -> tuple[str, ...]:
    """What tells one release from another: where the program and its interpreter really are."""
    file, _ = program()
    return (str(Path(file).resolve()), str(Path(sys.executable).resolve()), str(Path(__file__).resolve().parent))


def received_state() -> dict[str, Any] | None:
    """What the earlier program of this process handed over; None for a process that was just started."""
    number = os.environ.pop(_VARIABLE, None)
    if number is None:
        return None
    with os.fdopen(int(number), "rb") as file:
        file.seek(0)
        state: dict[str, Any] = json.load(file)
    return state


def replace_program(state: dict[str, Any], descriptors: Iterable[int]) -> NoReturn:
    """Become the current release. Does not return.

    Raises OSError when that is not possible; everything is as before then.
    """
    file, arguments = program()
    kept = list(descriptors)
    memory = os.memfd_create("relay-agent")
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        with os.fdopen(os.dup(memory), "wb") as writer:
            writer.write(json.dumps(state).encode())
        kept.append(memory)
        for fd in kept:
            os.set_inheritable(fd, True)
        os.execve(file, arguments, {**os.environ, _VARIABLE: str(memory)})
    except OSError:
        for fd in kept:
            os.set_inheritable(fd, False)
        raise
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        os.close(memory)
