# SPDX-License-Identifier: GPL-3.0-or-later
"""Brings the agent on a host to a wanted release, configuration, units and accounts, or back to what it ran."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from .account_sync import AccountSyncError, Synced, planned_names, sync_accounts
from .agent_settings import ETC, AgentSettings
from .applied_state import Action, AppliedState, AppliedStore, decide
from .managed_files import ManagedDirectory, ManagedFile
from .queue_schema import QueueSchemaError, bring_back
from .release_store import OPT, ReleaseError, ReleaseStore
from .systemd_units import SERVICE, SOCKET, UnitError, Units

__all__ = ["Deployment", "DeploymentError", "Outcome"]

KEPT_RELEASES = 3
USER = "postroad"

RunCommand = Callable[..., tuple[int, str, str]]


class DeploymentError(Exception):
    """The wanted state was not reached; the text says why and what the host runs now."""


@dataclass
class Outcome:
    """What changed, or in check mode what would."""

    changed: bool = False
    action: Action = field(default_factory=Action)
    diff: list[dict[str, str]] = field(default_factory=list)
    removed_releases: list[str] = field(default_factory=list)


class Deployment:
    """One host's wanted state. `release` None: the one that is current stays."""

    def __init__(
        self,
        settings: AgentSettings,
        units: dict[str, str],
        release: str | None,
        run_command: RunCommand,
        *,
        check_mode: bool,
        etc: Path = Path(ETC),
        opt: Path = OPT,
        unit_directory: Path = Path("/etc/systemd/system"),
    ) -> None:
        self.store = ReleaseStore(opt)
        self.applied = AppliedStore(opt / "applied")
        self.units = Units(run_command)
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
                self._converge()
        except (AccountSyncError, OSError, ReleaseError, UnitError) as error:
            raise DeploymentError(str(error)) from error
        return self.outcome

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
            self.outcome.removed_releases = self.store.prune(KEPT_RELEASES)
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
        return AppliedState(
            release=self._release,
            config=_digest(self._config.content),
            service=_digest(service),
            socket=_digest(socket),
            # By what is wanted, so that check mode comes to the same. Accounts and certificate are not in it: what
            # puts them in place has the running agent take them up.
            reloadable=_digest("".join(f"{secret.path} {_digest(secret.content)}\n" for secret in self._secrets)),
        )

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
        applied = self.applied.load()
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
        started = time.time()
        wanted = [self._config, *self._unit_files]
        before, previous_release = self._way_back(wanted)
        try:
            for file in changed_files:
                file.write()
            if switch:
                lowered = bring_back(self.store, self._release, self._run)
                self.store.switch(self._release)
                if lowered:  # both units are stopped
                    action = Action(restart_sockets=True)
            if self._needs_daemon_reload or any(file in self._unit_files for file in changed_files):
                self.units.daemon_reload()
            if action.restart or action.restart_sockets:
                self.units.restart(sockets=action.restart_sockets)
            elif action.reload:
                self.units.reload()
        except (OSError, UnitError, QueueSchemaError) as error:
            journal = "\n".join(f"  {line}" for line in self.units.journal(started))
            back = self._put_back(before, previous_release)
            raise DeploymentError(f"{error}\n{back}\nThe agent's last words:\n{journal or '  (none)'}") from error
        self.applied.save(self._wanted_state(), wanted)
        for release in (previous_release, self._release):
            if release is not None:
                self.store.mark_used(release)

    def _way_back(self, wanted: list[ManagedFile]) -> tuple[list[ManagedFile] | None, str | None]:
        """Files and release that worked last; without a record of them, what is there now."""
        state, files = self.applied.load(), self.applied.previous(wanted)
        if state and files and self.store.is_complete(state.release):
            return files, state.release
        if any(file.current() is None for file in wanted):
            return None, None
        return [replace(file, content=file.current() or "") for file in wanted], self.store.current()

    def _put_back(self, before: list[ManagedFile] | None, release: str | None) -> str:
        """Undo a start that failed; returns a sentence on what runs now."""
        if before is None or release is None:
            self.units.remove()
            self.store.switch(None)
            for file in (self._config, *self._unit_files):
                file.path.unlink(missing_ok=True)
            self.units.daemon_reload()
            return "Nothing ran here before, so nothing runs now; the units were removed again."
        try:
            bring_back(self.store, release, self._run)  # the new release may have opened the queue before it failed
            for file in before:
                file.write()
            self.store.switch(release)
            self.units.daemon_reload()
            self.units.restart(sockets=True)
        except (OSError, QueueSchemaError, ReleaseError, UnitError) as error:
            return f"Putting back release {release} and its configuration failed, too: {error}"
        return f"Release {release} and its configuration were put back; the agent runs."

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


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
