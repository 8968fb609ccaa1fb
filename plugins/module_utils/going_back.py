# SPDX-License-Identifier: GPL-3.0-or-later
"""Going back to a generation: its files and its release at once, taken up by the running agent without a restart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .generations import Generation
from .host_state import HostState
from .queue_schema import QueueSchemaError, bring_back
from .release_store import ReleaseError
from .snapshot import Snapshot, SnapshotError
from .systemd_units import UnitError
from .trial import TrialError

__all__ = ["go_back", "take_back"]


def go_back(host: HostState, wanted: str, *, check_mode: bool) -> dict[str, Any]:
    """Go back to the generation that `wanted` names (`Generations.choose`); the module's result.

    Raises GenerationError when there is none, TrialError when the agent did not take it up, with what runs now.
    """
    if check_mode:
        chosen = host.generations.choose(wanted)
        changed = not chosen.current
        return {"changed": changed, "diff": _diff(host, chosen) if changed else {}}
    with host.store.exclusive():
        if host.trial.pending:
            host.trial.put_back()
        chosen = host.generations.choose(wanted)
        if chosen.current:
            return {"changed": False}
        diff = _diff(host, chosen)
        host.begin(host.undo)
        host.accounts_made(host.undo)  # no part of this
        try:
            _put_to_use(host, host.generations.snapshot(chosen.number), chosen.release)
        except (OSError, QueueSchemaError, ReleaseError, SnapshotError, UnitError) as error:
            text = f"generation {chosen.number} was not taken up: {error}\n{host.undo.put_back()}"
            raise TrialError(text.rstrip()) from error
        host.keep(host.state_on_disk(chosen.release))
    return {"changed": True, "diff": diff}


def take_back(host: HostState) -> str:
    """Undo the change that was confirmed last, its accounts included; returns a sentence on what runs now.

    Not the same as a generation further back: a change of accounts alone makes no generation. Raises TrialError when
    something else has been changed since, or the agent did not take it up, with what runs now.
    """
    with host.store.exclusive():
        if host.trial.pending or not host.kept.pending:
            raise TrialError(
                "the change that was confirmed last was not taken back: something else was changed here since, or the "
                "host has started anew; rollback.yml lists what can be gone back to"
            )
        host.begin(host.undo)
        try:
            said = host.kept.put_back()
        except TrialError as error:
            raise TrialError(f"{error}\n{host.undo.put_back()}".rstrip()) from error
        host.keep(host.state_on_disk(host.store.current() or ""))
    return said or "What ran before runs still."


def _put_to_use(host: HostState, snapshot: Snapshot, release: str) -> None:
    lowered = bring_back(host.store, release, host.run)
    changed = snapshot.put_back()
    host.store.switch(release)
    # With its queue brought back, the agent is stopped.
    host.take_up([*changed, *(host.unit_files if lowered else [])])


def _diff(host: HostState, chosen: Generation) -> dict[str, str]:
    header = "what the agent runs"
    now = next((str(each) for each in host.generations.all() if each.current), "nothing that is known")
    texts = {"before": _config(host.config), "after": _kept_config(host, chosen)}
    return {
        "before_header": header,
        "after_header": header,
        "before": f"generation {now}\n{texts['before']}",
        "after": f"generation {chosen}\n{texts['after']}",
    }


def _config(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="backslashreplace")
    except OSError:
        return ""


def _kept_config(host: HostState, chosen: Generation) -> str:
    snapshot = host.generations.snapshot(chosen.number)
    entry = next(each for each in snapshot.manifest()["files"] if each["path"] == str(host.config))
    return _config(snapshot.directory / entry["copy"]) if entry["copy"] else ""
