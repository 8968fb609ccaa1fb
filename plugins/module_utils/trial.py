# SPDX-License-Identifier: GPL-3.0-or-later
"""A change on trial: kept when somebody confirms it, else put back by the host itself, also after a power cut.

While the trial lasts, there are in one directory: what ran before, and a program that puts it back, made of this
module and those that it needs. A timer starts the program when the time is over, and a unit at boot, before the agent.
"""

from __future__ import annotations

import importlib.util
import io
import json
import os
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .managed_files import ManagedFile, sync_directory
from .queue_schema import QueueSchemaError, UnknownSchemaError, bring_back
from .release_store import ReleaseError, ReleaseStore
from .snapshot import Snapshot, SnapshotError, put_back
from .systemd_units import SERVICE, SOCKET, UnitError, Units

__all__ = ["BOOT_UNIT", "TIMER", "Trial", "TrialError", "main"]

BOOT_UNIT = "relay-agent-unproved.service"
TIMER = "relay-agent-put-back"
UNIT_DIRECTORY = Path("/etc/systemd/system")

_AGAIN = 600  # seconds until a way back that failed is tried again; each try may close sessions

_MODULES = ("live_reload", "managed_files", "queue_schema", "release_store", "snapshot", "systemd_units", "trial")
_PROGRAM = "put-back.pyz"
_RECORD = "record.json"
_MAIN = "import sys\n\nfrom postroad_host.trial import main\n\nsys.exit(main(sys.argv[1:]))\n"
_BOOT_TEXT = """\
# Written by Ansible (role relay_agent) for as long as a change is on trial: a host that lost power with a change that
# nobody has confirmed comes up with what ran before.
[Unit]
Description=Put back what the Postroad relay agent ran before a change that was not confirmed
DefaultDependencies=no
After=local-fs.target
Before=relay-agent.socket relay-agent.service shutdown.target
Conflicts=shutdown.target
ConditionPathExists={program}

[Service]
Type=oneshot
# Found by this name for certain: what ends so soon the journal may not know the unit of.
SyslogIdentifier={name}
ExecStart={python} {program} --boot {directory} {units}

[Install]
WantedBy=sysinit.target
"""

RunCommand = Callable[..., tuple[int, str, str]]


class TrialError(Exception):
    """A trial could not be begun, kept or undone; the text says why and what runs now."""


@dataclass(frozen=True)
class Trial:
    """At most one at a time is under way on a host. directory: where everything about it is."""

    directory: Path
    store: ReleaseStore
    units: Units
    run: RunCommand
    unit_directory: Path = UNIT_DIRECTORY

    @property
    def pending(self) -> bool:
        """Whether there is one that was neither kept nor put back."""
        return (self.directory / _RECORD).is_file()

    def part(self, name: str) -> Path:
        """Where a snapshot of what ran before goes, of those that `begin` names."""
        return self.directory / "before" / name

    def begin(self, parts: Sequence[str], *, seconds: int | None, notes: dict[str, Any]) -> None:
        """From now on, unless it is kept, what is in these snapshots comes back.

        seconds: until the host does so by itself; None: only when it is told to. Raises TrialError.
        """
        record = {**notes, "parts": list(parts), "began": time.time(), "seconds": seconds}
        self._write(_RECORD, json.dumps(record, indent=2).encode())
        if seconds is None:
            return
        self._write(_PROGRAM, _program())
        program = self.directory / _PROGRAM
        places = {"directory": self.directory, "units": self.unit_directory, "name": TIMER}
        text = _BOOT_TEXT.format(python=_python(), program=program, **places)
        # Not by `systemctl enable`, which syncs nothing: a power cut may be what comes next.
        ManagedFile(self._boot_unit, text).write()
        self._boot_link.parent.mkdir(exist_ok=True)
        self._boot_link.unlink(missing_ok=True)
        self._boot_link.symlink_to(self._boot_unit)
        sync_directory(self._boot_link.parent)
        refused = self._arm(seconds)
        if refused:
            self.end()
            raise TrialError(f"the timer that would put things back could not be set: {refused}")

    def _arm(self, seconds: int, *options: str) -> str:
        """Have the host put things back after so many seconds, and again while that fails; why not, or ""."""
        self._disarm()
        timer = [
            f"--on-active={seconds}",
            f"--on-unit-inactive={_AGAIN}",
            "--timer-property=AccuracySec=1s",
            f"--unit={TIMER}",
            f"--property=SyslogIdentifier={TIMER}",
            *options,
        ]
        command = [_python(), str(self.directory / _PROGRAM), str(self.directory), str(self.unit_directory)]
        status, _, errors = self.run(["systemd-run", "--quiet", "--collect", *timer, *command])
        return "" if status == 0 else errors.strip() or f"exit status {status}"

    def record(self) -> dict[str, Any]:
        """What is noted about it. Raises TrialError when none is under way."""
        try:
            record: dict[str, Any] = json.loads((self.directory / _RECORD).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise TrialError(
                "no change is on trial here any more: as nobody confirmed it, the host has put back what ran before"
            ) from error
        return record

    def note(self, **more: Any) -> None:
        """Add to the record. Raises TrialError."""
        self._write(_RECORD, json.dumps({**self.record(), **more}, indent=2).encode())

    def made(self, part: str) -> None:
        """What this part's files hold now is the work of this change; what they hold later, if it is something else,
        is somebody else's and stays. Raises TrialError, SnapshotError and OSError."""
        known = self.record().get("made", {})
        self.note(made={**known, part: Snapshot(self.part(part)).found()})

    def leave(self, part: str) -> None:
        """This part's files stay as they are, whatever becomes of the change. Raises TrialError."""
        self.note(parts=[each for each in self.record()["parts"] if each != part])

    def take_over(self, other: Trial) -> None:
        """Be the way back that another one was, without a time. Where that cannot be kept there is none."""
        shutil.rmtree(self.directory, ignore_errors=True)
        try:
            self.directory.mkdir(parents=True, mode=0o700)
            shutil.copytree(other.directory / "before", self.directory / "before")
            self._write(_RECORD, json.dumps({**other.record(), "seconds": None}, indent=2).encode())
        except OSError:
            shutil.rmtree(self.directory, ignore_errors=True)

    def put_back(self, *, told: bool = True, booting: bool = False) -> str:
        """Undo it; returns a sentence on what runs now, empty when nothing had changed.

        told: the agent may have taken up what changed. booting: it is not running yet. Raises TrialError; the trial
        is then still under way, and one that has a time is tried again by the host.
        """
        try:
            record = self.record()
            release = Snapshot(self.part(record["parts"][0])).release
            switched = self.store.current() != release
            # Before anything is changed: when it fails, what is on trial runs on whole.
            lowered = switched and self._bring_queue_back(release, booting=booting)
            changed = put_back([Snapshot(self.part(name)) for name in self._own(record)])
            if switched:
                self.store.switch(release)
            units = {path.name for path in changed} & {SOCKET, SERVICE}
            if units:
                self.units.daemon_reload()
            down = told and not booting and not self._up()
            if not booting and (lowered or down or (told and (changed or switched))):
                self._take_up(units, down=lowered or down)
        except (OSError, QueueSchemaError, ReleaseError, SnapshotError, UnitError) as error:
            now = "" if isinstance(error, QueueSchemaError) or booting else f"\n{self._keep_up()}"
            again = self._again(booting=booting)
            raise TrialError(f"putting back what ran before failed, too: {error}{now}{again}") from error
        self.end()
        if not (changed or switched or down):
            return ""
        return f"Release {release} and its configuration were put back" + ("." if booting else "; the agent runs.")

    def _own(self, record: dict[str, Any]) -> list[str]:
        """The parts that nobody else has changed since (`made`)."""
        made = record.get("made", {})
        return [name for name in record["parts"] if name not in made or made[name] == Snapshot(self.part(name)).found()]

    def _bring_queue_back(self, release: str, *, booting: bool) -> bool:
        """Whether the queue had to be written as `release` opens it: both units are stopped then."""
        try:
            return bool(bring_back(self.store, release, self.run, booting=booting))
        except UnknownSchemaError:
            # A release too broken to be asked has hardly opened a queue.
            return False

    def _up(self) -> bool:
        return all(state.active for state in self.units.states().values())

    def _take_up(self, units: set[str], *, down: bool) -> None:
        if not units and not down:
            try:
                self.units.reload()
                return
            except UnitError:
                pass  # what is on trial may be too broken even to go
        self.units.restart(sockets=SOCKET in units or down)

    def _keep_up(self) -> str:
        """Mail is to be taken also after a way back that broke off; says whether it is."""
        try:
            if not self._up():
                self.units.restart(sockets=True)
        except UnitError as error:
            return f"The agent does not run: {error}"
        return "The agent runs."

    def _again(self, *, booting: bool) -> str:
        """When the host tries again; "" for what it was only told to do."""
        if not self._boot_unit.exists():
            return ""
        # The timer of before ended with the host. This one must not wait for the start that waits for us.
        refused = self._arm(_AGAIN, "--timer-property=DefaultDependencies=no", "--no-block") if booting else ""
        start = "when it starts anew"
        by_itself = start if refused else f"when its time is over, then every {_AGAIN // 60} minutes, and {start}"
        return f"\nThe change is still on trial; this host tries to put it back by itself {by_itself}."

    def end(self) -> None:
        """Nothing is on trial any more; what runs now stays."""
        if self._boot_unit.exists():
            self._disarm()
            self._boot_link.unlink(missing_ok=True)
            self._boot_unit.unlink(missing_ok=True)
        # First what makes it one, so that a power cut in between does not leave half of it.
        (self.directory / _RECORD).unlink(missing_ok=True)
        shutil.rmtree(self.directory, ignore_errors=True)

    @property
    def _boot_unit(self) -> Path:
        return self.unit_directory / BOOT_UNIT

    @property
    def _boot_link(self) -> Path:
        return self.unit_directory / "sysinit.target.wants" / BOOT_UNIT

    def _disarm(self) -> None:
        self.run(["systemctl", "stop", f"{TIMER}.timer"])

    def _write(self, name: str, content: bytes) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        self.directory.chmod(0o700)
        path = self.directory / name
        temporary = path.with_name(f".{name}.new")
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)


def _python() -> str:
    return str(Path(sys.executable).resolve())


def _program() -> bytes:
    """This module and those that it needs as one file that Python runs (PEP 441)."""
    memory = io.BytesIO()
    package = __name__.rpartition(".")[0]
    with zipfile.ZipFile(memory, "w") as archive:
        archive.writestr("__main__.py", _MAIN)
        archive.writestr("postroad_host/__init__.py", "")
        for name in _MODULES:
            spec = importlib.util.find_spec(f"{package}.{name}")
            assert spec is not None
            assert spec.loader is not None
            source = spec.loader.get_source(f"{package}.{name}")  # type: ignore[attr-defined]
            archive.writestr(f"postroad_host/{name}.py", source)
    return memory.getvalue()


def _run(args: Sequence[str]) -> tuple[int, str, str]:
    try:
        done = subprocess.run(args, capture_output=True, text=True, check=False)
    except OSError as error:
        return 127, "", str(error)
    return done.returncode, done.stdout, done.stderr


def main(arguments: Sequence[str]) -> int:
    """What the timer and the unit at boot run: ``[--boot] DIRECTORY UNITS``. Returns the exit status."""
    *options, directory, units = arguments
    store = ReleaseStore(Path(directory).parent)
    trial = Trial(Path(directory), store, Units(_run), _run, Path(units))
    try:
        with store.exclusive():
            if not trial.pending:
                trial.end()  # the timer would go on
                return 0
            sys.stdout.write((trial.put_back(booting="--boot" in options) or "Nothing had changed.") + "\n")
    except (TrialError, ReleaseError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0
