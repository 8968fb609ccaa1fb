# SPDX-License-Identifier: GPL-3.0-or-later
"""What a relay runs and has run: the parts that a deployment, a confirmation and a roll-back have in common."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from .agent_settings import ETC
from .applied_state import AppliedState, AppliedStore
from .generations import Generations
from .release_store import OPT, ReleaseStore
from .snapshot import Snapshot
from .systemd_units import SERVICE, SOCKET, Units
from .trial import UNIT_DIRECTORY, RunCommand, Trial

__all__ = ["HostState"]

KEPT_RELEASES = 3
KEPT_GENERATIONS = 10
_ACCOUNTS = "accounts"
RUNTIME = Path("/run/postroad-deployment")


class HostState:
    """The agent's places on this host, and the changes that concern all of them at once."""

    def __init__(
        self,
        run: RunCommand,
        *,
        etc: Path = Path(ETC),
        opt: Path = OPT,
        unit_directory: Path = UNIT_DIRECTORY,
        runtime: Path = RUNTIME,
        store: ReleaseStore | None = None,
    ) -> None:
        self.run = run
        self.store = store or ReleaseStore(opt)
        self.units = Units(run)
        self.applied = AppliedStore(opt / "applied")
        self.generations = Generations(opt / "generations", self.store.is_complete)
        self.trial = Trial(opt / "trial", self.store, self.units, run, unit_directory)
        # For changes that nobody has to confirm: needed no longer than the run takes, and not on the disk.
        self.undo = Trial(runtime, self.store, self.units, run, unit_directory)
        # The way back from the change that was confirmed last, for whoever confirmed it and then has to take it back.
        kept = runtime.with_name(f"{runtime.name}-kept")
        self.kept = Trial(kept, self.store, self.units, run, unit_directory)
        self.config = etc / "agent.toml"
        self.accounts = etc / "accounts.toml"
        self.secrets = etc / "secrets"
        self.unit_files = [unit_directory / name for name in (SOCKET, SERVICE)]

    def begin(self, trial: Trial, *, seconds: int | None = None, **notes: Any) -> bool:
        """Keep what worked last, accounts included, so that it comes back unless the trial ends well.

        trial: `trial`, with seconds until the host goes back by itself, or `undo`. Returns False where nothing has
        run yet. Raises TrialError and OSError.
        """
        before = trial.part("release")
        shutil.rmtree(before.parent, ignore_errors=True)
        if self.generations.current() is None and self.applied.load() is not None:
            # Applied before there were generations: the first to go back to.
            self.generations.record(*self._in_use(self.store.current() or ""))
        number = self.generations.current()
        usable = number is not None and number in {each.number for each in self.generations.all()}
        if number is not None and usable:
            # Not what is on the disk: a run that broke off may have left there what never worked.
            before.parent.mkdir(parents=True, mode=0o700)
            shutil.copytree(self.generations.snapshot(number).directory, before)
        else:
            release = self.store.current()
            if release is None or not all(path.is_file() for path in (self.config, *self.unit_files)):
                return False
            Snapshot.take(before, release, [self.config, *self.unit_files], [self.secrets])
        accounts = Snapshot.take(trial.part(_ACCOUNTS), "", [self.accounts])
        if trial is self.trial:
            self.kept.end()
        trial.begin([before.name, accounts.directory.name], seconds=seconds, notes=notes)
        return True

    def accounts_made(self, trial: Trial) -> None:
        """The accounts are now as the change wants them: what they are later, somebody else made of them."""
        trial.made(_ACCOUNTS)

    def accounts_settled(self) -> None:
        """The accounts were set apart from any change, so no way back from one may touch them. Raises TrialError."""
        for trial in (self.trial, self.kept):
            if trial.pending:
                trial.leave(_ACCOUNTS)

    def take_up(self, changed: Iterable[Path]) -> None:
        """Have the agent run with files that have changed, in the gentlest way. Raises UnitError."""
        units = {path.name for path in changed} & {SOCKET, SERVICE}
        if units:
            self.units.daemon_reload()
        states = self.units.states()
        if units or not states[SERVICE].active:
            self.units.restart(sockets=SOCKET in units or not states[SOCKET].active)
        else:
            self.units.reload()

    def state_on_disk(self, release: str) -> AppliedState:
        """What is applied when the agent runs with the files that are there now."""
        socket, service = (path.read_text(encoding="utf-8") for path in self.unit_files)
        paths = sorted(self.secrets.iterdir()) if self.secrets.is_dir() else []
        secrets = {path: path.read_text(encoding="utf-8") for path in paths}
        return self.state(release, self.config.read_text(encoding="utf-8"), service, socket, secrets)

    def state(self, release: str, config: str, service: str, socket: str, secrets: Mapping[Path, str]) -> AppliedState:
        """What is applied when the agent runs with these texts; secrets: by their files, in the order of these.

        By what is wanted, so that check mode comes to the same. Accounts and certificate are not in it: what puts
        them in place has the running agent take them up.
        """
        return AppliedState(
            release=release,
            config=_digest(config),
            service=_digest(service),
            socket=_digest(socket),
            reloadable=_digest("".join(f"{path} {_digest(text)}\n" for path, text in secrets.items())),
        )

    def keep(self, state: AppliedState) -> tuple[int, list[str]]:
        """What runs now has proved itself; returns its generation and the releases that were removed for it."""
        before = self.generations.current()
        number = self.generations.record(*self._in_use(state.release))
        self.applied.save(state)
        # The one that goes counts as used until now, so that the way back to it stays.
        for each in (before, number):
            if each is not None and self.store.is_complete(release := self.generations.snapshot(each).release):
                self.store.mark_used(release)
        if self.trial.pending:
            self.kept.take_over(self.trial)
        else:
            self.kept.end()
        for trial in (self.trial, self.undo):
            trial.end()
        return number, self.prune()

    def _in_use(self, release: str) -> tuple[str, list[Path], list[Path], float]:
        return release, [self.config, *self.unit_files], [self.secrets], time.time()

    def prune(self) -> list[str]:
        """Remove releases and generations of which there are newer ones enough; returns the releases."""
        removed = self.store.prune(KEPT_RELEASES)
        self.generations.prune(KEPT_GENERATIONS)
        return removed


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
