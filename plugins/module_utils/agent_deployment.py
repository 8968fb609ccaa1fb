# SPDX-License-Identifier: GPL-3.0-or-later
"""Brings the agent on a host to a wanted release, configuration, units and accounts, or back to what it ran."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from .account_sync import AccountSyncError, Synced, planned_names, sync_accounts
from .agent_settings import ETC, AgentSettings
from .applied_state import Action, AppliedState, decide
from .host_state import RUNTIME, HostState
from .managed_files import ManagedDirectory, ManagedFile
from .queue_schema import QueueSchemaError, bring_back
from .release_store import OPT, ReleaseError, ReleaseStore
from .snapshot import SnapshotError
from .systemd_units import SERVICE, SOCKET, UnitError
from .trial import Trial, TrialError
from .trial_judgement import observe

__all__ = ["Deployment", "DeploymentError", "Outcome"]

USER = "postroad"

RunCommand = Callable[..., tuple[int, str, str]]


# What a step may fail with; whatever it is, what has been changed by then goes back.
_FAULTS = (AccountSyncError, OSError, QueueSchemaError, ReleaseError, SnapshotError, TrialError, UnitError)


class DeploymentError(Exception):
    """The wanted state was not reached; the text says why and what the host runs now."""


@dataclass
class Outcome:
    """What changed, or in check mode what would."""

    changed: bool = False
    action: Action = field(default_factory=Action)
    diff: list[dict[str, str]] = field(default_factory=list)
    removed_releases: list[str] = field(default_factory=list)
    on_trial: bool = False
    generation: int | None = None


class Deployment:
    """One host's wanted state.

    release: None: the one that is current stays. confirm_within: seconds until the host goes back by itself to what
    it ran before, unless the change is confirmed (`keep`); None: a change that works stays.
    """

    def __init__(
        self,
        settings: AgentSettings,
        units: dict[str, str],
        release: str | None,
        run_command: RunCommand,
        *,
        check_mode: bool,
        confirm_within: int | None = None,
        etc: Path = Path(ETC),
        opt: Path = OPT,
        unit_directory: Path = Path("/etc/systemd/system"),
        runtime: Path = RUNTIME,
    ) -> None:
        self.store = ReleaseStore(opt)
        self._host = HostState(
            run_command, etc=etc, opt=opt, unit_directory=unit_directory, runtime=runtime, store=self.store
        )
        self.units = self._host.units
        self._confirm_within = confirm_within
        self._told = False  # the agent may have taken up something
        self._begun: Trial | None = None  # the way back
        self._started = time.time()
        self.check_mode = check_mode
        self.outcome = Outcome()
        self._run = run_command
        self._settings = settings
        self._etc = etc
        self._config = ManagedFile(etc / "agent.toml", settings.toml, mode=0o640, group=USER)
        self._unit_files = [ManagedFile(unit_directory / name, units[name]) for name in (SOCKET, SERVICE)]
        self._secrets = [
            ManagedFile(etc / "secrets" / name, content, mode=0o640, group=USER, secret=not name.endswith(".pem"))
            for name, content in sorted(settings.secrets.items())
        ]
        wanted = release or self.store.current()
        if wanted is None and not check_mode:
            raise DeploymentError("no release of the agent is installed: run postroad.relay.agent_release first")
        self._release = wanted or ""
        self._drifted: list[ManagedFile] = []
        self._accounts_not_taken_up = False

    def converge(self) -> Outcome:
        """Do what is missing, in an order in which every step can still be taken back. Raises DeploymentError."""
        try:
            with contextlib.nullcontext() if self.check_mode else self.store.exclusive():
                if self.check_mode:
                    self._converge()
                else:
                    self._converge_or_go_back()
        except _FAULTS as error:
            raise DeploymentError(str(error)) from error
        return self.outcome

    def _converge_or_go_back(self) -> None:
        if self._host.trial.pending:
            # An earlier run was broken off before anybody confirmed.
            self._host.trial.put_back()
        on_trial = self._confirm_within is not None
        trial = self._host.trial if on_trial else self._host.undo
        notes = {"before": observe(self._run)} if on_trial else {}
        if self._host.begin(trial, seconds=self._confirm_within, **notes):
            self._begun = trial
        elif on_trial:
            raise DeploymentError("nothing runs here yet that could be gone back to: deploy with site.yml first")
        try:
            self._converge()
        except (*_FAULTS, DeploymentError) as error:
            journal = self.units.journal(self._started) if self._told else []
            back = self._go_back()
            words = "\n".join(["The agent's last words:", *(f"  {line}" for line in journal or ["(none)"])])
            told = [str(error), *([back] if back else []), *([words] if self._told else [])]
            raise DeploymentError("\n".join(told)) from error
        if not self._told:
            trial.end()
            self.outcome.removed_releases = self._host.prune()
        elif on_trial:
            self.outcome.on_trial = True
            trial.note(applied=asdict(self._wanted_state()), switched=observe(self._run))
        else:
            self.outcome.generation, self.outcome.removed_releases = self._host.keep(self._wanted_state())

    def _converge(self) -> None:
        # Before anything is written: an agent that was reloaded or restarted by hand may run with what is there now.
        self._drifted = [file for file in (self._config, *self._unit_files, *self._secrets) if file.content_differs()]
        self._prepare()
        self._check_configuration()
        switch = self._release != self.store.current()
        changed_files = [file for file in (self._config, *self._unit_files) if file.differs()]
        action = self._decide()
        self._note(changed_files, action, switch=switch)
        if not self.check_mode:
            if changed_files or switch or action.needed:
                self._put_to_use(changed_files, action, switch=switch)
            if not self._enabled:
                self.units.enable()
        self._remove_leftovers()

    def _prepare(self) -> None:
        """Directories, upstream secrets and accounts: the running agent reads none of it until told to."""
        for directory in (
            ManagedDirectory(self._etc, mode=0o750, group=USER),
            ManagedDirectory(self._etc / "secrets", mode=0o750, group=USER),
        ):
            if directory.differs():
                self._changed(f"directory {directory.path}", "", f"root:{USER} {directory.mode:04o}")
                if not self.check_mode:
                    directory.ensure()
        for secret in self._secrets:
            if secret.differs():
                self.outcome.changed = True
                self.outcome.diff.append(secret.diff())
                if not self.check_mode:
                    secret.write()
        self._sync_accounts()
        if self._begun:
            self._host.accounts_made(self._begun)

    def _sync_accounts(self) -> None:
        wanted = self._settings.accounts
        path = self._etc / "accounts.toml"
        if not wanted and path.exists():
            # No list in the inventory: the accounts are kept on the host by hand.
            return
        program = self._program()
        if program is None:
            synced = Synced(changed=True, added=planned_names(wanted))
        else:
            synced = sync_accounts(self._run, program, path, wanted, check_mode=self.check_mode)
        if synced.changed:
            self._changed(str(path), "", synced.lines)
        # What the agent has taken up by itself asks for no reload; check mode cannot know better than that it will.
        self._accounts_not_taken_up = bool(synced.refused)
        self._told |= synced.changed and synced.agent == "reloaded"

    def _program(self) -> str | None:
        """The wanted release's command; in check mode, while that is not installed, the current one's."""
        for release in (self._release, self.store.current()):
            if release and self.store.is_complete(release):
                return str(self.store.path(release) / "bin" / "relay-agent")
        return None

    def _check_configuration(self) -> None:
        """Have the new release judge the new file, as the user that will read it, before it replaces the old."""
        if self._release == self.store.current() and not self._config.differs():
            return
        if self.check_mode:
            # Judged on the controller by the preflight; what the file names may not be here before the real run.
            return
        program = self._program()
        if program is None or not self.store.is_complete(self._release):
            raise DeploymentError(f"release {self._release} is not installed")
        candidate = self._config.write_beside()
        try:
            command = ["runuser", "--user", USER, "--", program, "check-config", str(candidate)]
            status, output, errors = self._run(command)
        finally:
            candidate.unlink(missing_ok=True)
        if status != 0:
            found = (errors.strip() or output.strip()).replace(str(candidate), str(self._config.path))
            raise DeploymentError(
                f"the new configuration is refused by release {self._release}; the running agent is untouched:\n{found}"
            )

    def _wanted_state(self) -> AppliedState:
        socket, service = (file.content for file in self._unit_files)
        secrets = {secret.path: secret.content for secret in self._secrets}
        return self._host.state(self._release, self._config.content, service, socket, secrets)

    def _decide(self) -> Action:
        states = self.units.states()
        self._enabled = all(state.enabled for state in states.values())
        self._needs_daemon_reload = any(state.needs_reload for state in states.values())
        action = decide(
            self._applied_and_untouched(),
            self._wanted_state(),
            service_up=states[SERVICE].active,
            socket_up=states[SOCKET].active,
        )
        return Action(reload=True) if self._accounts_not_taken_up and not action.needed else action

    def _applied_and_untouched(self) -> AppliedState | None:
        """What was applied last, less what has been changed on the disk since."""
        applied = self._host.applied.load()
        if applied is None:
            return None
        socket, service = self._unit_files
        kinds: tuple[tuple[str, list[ManagedFile]], ...] = (
            ("config", [self._config]),
            ("socket", [socket]),
            ("service", [service]),
            ("reloadable", self._secrets),
        )
        return replace(applied, **{kind: "" for kind, files in kinds if any(file in self._drifted for file in files)})

    def _note(self, changed_files: list[ManagedFile], action: Action, *, switch: bool) -> None:
        self.outcome.changed |= bool(changed_files)
        self.outcome.diff.extend(file.diff() for file in changed_files)
        self.outcome.action = action
        if not self._enabled:
            self._changed(f"{SOCKET} and {SERVICE}", "", "starts at boot\n")
        if switch or action.needed:
            before = f"release {self.store.current() or 'none'}\n"
            self._changed(SERVICE, before, f"release {self._release or '(the new one)'}\n{action}\n")

    def _put_to_use(self, changed_files: list[ManagedFile], action: Action, *, switch: bool) -> None:
        self._told = True
        # Before any file is written: when it fails, what ran before is started again, with its own files.
        if switch and bring_back(self.store, self._release, self._run):  # both units are stopped
            action = Action(restart_sockets=True)
        for file in changed_files:
            file.write()
        if switch:
            self.store.switch(self._release)
        if self._needs_daemon_reload or any(file in self._unit_files for file in changed_files):
            self.units.daemon_reload()
        if action.restart or action.restart_sockets:
            self.units.restart(sockets=action.restart_sockets)
        elif action.reload:
            self.units.reload()

    def _go_back(self) -> str:
        """Undo what was begun; returns a sentence on what runs now, empty when the agent has noticed nothing."""
        if self._begun:
            try:
                return self._begun.put_back(told=self._told)
            except TrialError as error:
                return str(error)
        if not self._told:
            return ""
        self.units.remove()
        self.store.switch(None)
        for file in (self._config, *self._unit_files):
            file.path.unlink(missing_ok=True)
        self.units.daemon_reload()
        return "Nothing ran here before, so nothing runs now; the units were removed again."

    def _remove_leftovers(self) -> None:
        """Secrets that no route names any more; only now, when nothing that runs still reads them."""
        directory = self._etc / "secrets"
        kept = {secret.path for secret in self._secrets}
        for path in sorted(directory.iterdir()) if directory.is_dir() else []:
            if path not in kept:
                self._changed(str(path), "(secret)\n", "")
                if not self.check_mode:
                    path.unlink()

    def _changed(self, what: str, before: str, after: str) -> None:
        self.outcome.changed = True
        header = {"before_header": what, "after_header": what}
        self.outcome.diff.append(header | {"before": before, "after": after})
