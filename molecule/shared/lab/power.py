# SPDX-License-Identifier: GPL-3.0-or-later
"""A power cut: every process of a container ends in the same instant, as far as they can tell."""

import contextlib
import os
import signal
from pathlib import Path

__all__ = ["cut"]


def cut(pid: int, proc: Path = Path("/proc")) -> None:
    """Kill the process and every other in its process namespace, none of which lives to see another end.

    Killing the first process of a container is not enough. The kernel closes its files before it kills the others
    (pid_namespaces(7)), and in between a program can notice that systemd is gone, and act on it: a deployment has put
    back what ran before in that time. Hence all of them are stopped before the first is killed.
    """
    namespace = _namespace(proc / str(pid))
    stopped: set[int] = set()
    while new := {each for each in _processes(proc) if _namespace(proc / str(each)) == namespace} - stopped:
        for each in new:
            _send(each, signal.SIGSTOP)
        stopped |= new
    for each in stopped:
        _send(each, signal.SIGKILL)


def _processes(proc: Path) -> list[int]:
    return [int(entry.name) for entry in proc.iterdir() if entry.name.isdecimal()]


def _namespace(process: Path) -> str:
    """Empty when there is no such process any more."""
    try:
        return str((process / "ns/pid").readlink())
    except OSError:
        return ""


def _send(pid: int, which: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, which)
