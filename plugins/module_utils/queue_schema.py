# SPDX-License-Identifier: GPL-3.0-or-later
"""The way back to an earlier release: the queue as that release opens it, written by the one that runs now.

A release refuses a queue of a newer schema rather than guess. So before an earlier release is put to use, the agent is
stopped, and the newer one brings the queue back; if the earlier one then does not start, the newer one brings it
forward again by itself. If the queue cannot be brought back, for want of room most likely, the newer one is started
again at once: so nothing else is changed before.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from .release_store import ReleaseStore
from .systemd_units import SERVICE, SOCKET, UnitError, Units

__all__ = ["QueueSchemaError", "UnknownSchemaError", "bring_back", "release_schema"]

_ASK = "from relay_agent.queue.schema import SCHEMA_VERSION; print(SCHEMA_VERSION)"

_MEND = "Mend what hinders the queue (on its disk it needs as much free space as it has), then try again."

RunCommand = Callable[..., tuple[int, str, str]]


class QueueSchemaError(Exception):
    """The queue cannot be made one that the release opens; the text says why, what runs now and what to do."""


class UnknownSchemaError(QueueSchemaError):
    """A release does not say what queue it works with; nothing was done."""


def release_schema(store: ReleaseStore, release: str, run_command: RunCommand) -> int:
    """The schema of the queue that an installed release works with. Raises UnknownSchemaError."""
    status, output, errors = run_command([str(store.path(release) / "bin" / "python"), "-I", "-c", _ASK])
    if status != 0 or not output.strip().isdigit():
        raise UnknownSchemaError(f"release {release} does not say what queue it works with: {errors.strip()}")
    return int(output)


def bring_back(store: ReleaseStore, release: str, run_command: RunCommand, *, booting: bool = False) -> str:
    """Have the queue ready for `release` while another one is current; a sentence on what was done, "" for nothing.

    Stops both units when anything is to be done: with the ports open, the next client would start the newer release.
    Whoever calls this starts them, and changes nothing before. booting: they do not run yet, and a stop would take
    them out of the start that is under way. Raises QueueSchemaError; the agent then runs as it did.
    """
    current = store.current()
    if current is None or current == release:
        return ""
    wanted, present = (release_schema(store, each, run_command) for each in (release, current))
    if wanted >= present:
        return ""
    return lower(store.path(current) / "bin" / "relay-agent", wanted, run_command, booting=booting)


def lower(program: Path, schema: int, run_command: RunCommand, *, booting: bool = False) -> str:
    """Stop the agent and bring the queue to `schema`. Returns a sentence. Raises QueueSchemaError; see `bring_back`."""
    stop = ["systemctl", "stop", SOCKET, SERVICE]
    downgrade = [str(program), "queue", "downgrade", "--schema", str(schema)]
    for command in [downgrade] if booting else [stop, downgrade]:
        status, output, errors = run_command(command)
        if status != 0:
            reason = f"{' '.join(command)}: {errors.strip() or output.strip()}"
            now = "Nothing was changed: what was there starts." if booting else _start_again(run_command)
            raise QueueSchemaError(f"the queue could not be brought back to schema {schema}: {reason}\n{now} {_MEND}")
    return f"the queue was brought to schema {schema}"


def _start_again(run_command: RunCommand) -> str:
    """Have the agent run with what it ran; returns what came of it, and what to do."""
    try:
        Units(run_command).restart(sockets=True)
    except UnitError as error:
        start = f"systemctl start {SOCKET} {SERVICE}"
        return f"The agent is stopped, and did not start again ({error}): see its journal, then run `{start}`."
    return "The agent was started again, with the release and the configuration that it had."
