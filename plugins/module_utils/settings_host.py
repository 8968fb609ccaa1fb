# SPDX-License-Identifier: GPL-3.0-or-later
"""The web server of the settings on its host: its files, its units, and the profile signed with the relay's key."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from socket import create_connection

from .managed_files import ManagedDirectory, ManagedFile
from .systemd_units import CommandRunner

__all__ = ["PATH", "PROFILE_SERVICE", "SERVICE", "SettingsError", "SettingsHost"]

SERVICE = "postroad-settings.service"
PROFILE_SERVICE = "postroad-profile.service"
PATH = "postroad-profile.path"
_UNITS = (SERVICE, PROFILE_SERVICE, PATH)
_PROFILE = "run/postroad-profile/postroad.mobileconfig"
_ANSWERS_WITHIN = 10.0  # seconds


class SettingsError(Exception):
    """The settings could not be served; the text says what is wrong and that the old ones are, if they are."""


class SettingsHost:
    """root: the host's root directory. knock: whether the web server answers at an address; see `answers`."""

    def __init__(
        self,
        run_command: CommandRunner,
        *,
        root: Path = Path("/"),
        knock: Callable[[str], bool] | None = None,
        nginx: str = "nginx",
    ) -> None:
        self._run = run_command
        self._root = root
        self._nginx = nginx
        self._knock = knock or answers
        self._directory = root / "etc/postroad-settings"
        self._units = root / "etc/systemd/system"
        self._profile = root / _PROFILE
        self._configuration = self._directory / "nginx.conf"
        self._record = self._directory / "taken-up"

    # ---- what is wanted, and what differs from it --------------------------------------------------------

    def files(
        self,
        configuration: str,
        pages: Mapping[str, str],
        answers: Mapping[str, str],
        profile: str | None,
        units: Mapping[str, str],
    ) -> list[ManagedFile]:
        """Every file that has to be there. pages and answers: texts by their path below a directory of their own."""
        wanted = [ManagedFile(self._directory / "pages" / path, text) for path, text in pages.items()]
        wanted += [ManagedFile(self._directory / "answers" / path, text) for path, text in answers.items()]
        if profile is not None:
            wanted.append(ManagedFile(self._directory / "profile.plist", profile))
        wanted.append(ManagedFile(self._configuration, configuration))
        return wanted + [ManagedFile(self._units / name, text) for name, text in units.items()]

    def superfluous(self, wanted: list[ManagedFile]) -> list[Path]:
        """What an earlier run wrote and nobody wants any more."""
        kept = {file.path for file in wanted}
        there = [path for path in self._directory.rglob("*") if path.is_symlink() or not path.is_dir()]
        return sorted(path for path in there if path not in kept and path != self._record)

    def taken_up(self, wanted: list[ManagedFile]) -> ManagedFile:
        """The record to write when everything runs with these files.

        A file that is in place does not say that it is in use: a run may have ended between the two.
        """
        hashes = {file.path: hashlib.sha256(file.content.encode()).hexdigest() for file in wanted}
        used = [path for path in hashes if path == self._configuration or path.parent == self._units]
        return ManagedFile(self._record, "".join(f"{hashes[path]} {path.name}\n" for path in used))

    def not_taken_up(self, wanted: list[ManagedFile]) -> set[str]:
        """Names of the files that no run has seen in use as they are wanted."""
        record = self.taken_up(wanted)
        seen = (record.current() or "").splitlines()
        return {line.partition(" ")[2] for line in record.content.splitlines() if line not in seen}

    def directories(self, wanted: list[ManagedFile]) -> list[ManagedDirectory]:
        """The directories of the files, the upper ones first."""
        paths = {self._directory}
        for file in wanted:
            paths |= {parent for parent in file.path.parents if self._directory in parent.parents}
        return [ManagedDirectory(path) for path in sorted(paths)]

    def runs(self, *, signs: bool) -> bool:
        """Whether the units are enabled and active as they should be."""
        names = [SERVICE, *([PATH] if signs else [])]
        enabled = [*names, *([PROFILE_SERVICE] if signs else [])]
        return all(self._run(["systemctl", "is-active", "--quiet", name])[0] == 0 for name in names) and all(
            self._run(["systemctl", "is-enabled", "--quiet", name])[0] == 0 for name in enabled
        )

    def is_signed(self) -> bool:
        """Whether the signed profile is newer than what it is made of."""
        sources = [self._directory / "profile.plist", self._root / "etc/postroad/tls/current"]
        try:
            signed = self._profile.stat().st_mtime_ns
            return all(signed >= path.lstat().st_mtime_ns for path in sources)
        except FileNotFoundError:
            return False

    # ---- doing it ----------------------------------------------------------------------------------------

    def check(self, configuration: str) -> None:
        """Have nginx judge a configuration that is not in place. Raises SettingsError."""
        with tempfile.TemporaryDirectory(prefix="postroad-settings-") as name:
            candidate = Path(name) / "nginx.conf"
            candidate.write_text(configuration, encoding="utf-8")
            command = [self._nginx, "-t", "-q", "-e", "stderr", "-p", f"{name}/", "-c", str(candidate)]
            status, output, errors = self._run(command)
        if status != 0:
            said = (errors or output).strip()[-1000:]
            raise SettingsError(f"nginx does not take the configuration; what was served is served on: {said}")

    def write(self, directories: list[ManagedDirectory], files: list[ManagedFile], superfluous: list[Path]) -> None:
        """Put in place what differs, and remove what is not wanted."""
        for directory in directories:
            directory.ensure()
        for file in files:
            file.write()
        for path in superfluous:
            path.unlink(missing_ok=True)
        for path in sorted(self._directory.rglob("*"), reverse=True):
            if path.is_dir() and not path.is_symlink() and not any(path.iterdir()):
                path.rmdir()

    def put_to_use(self, changed: set[str], *, address: str, signs: bool) -> None:
        """Start what does not run, and have the rest take up what has changed.

        changed: names of the files that are not in use yet. address: where the web server answers. signs: whether
        there is a profile to sign. Raises SettingsError.
        """
        if changed & set(_UNITS):
            self._systemctl("daemon-reload")
        self._systemctl("enable", "--quiet", SERVICE)
        if SERVICE in changed:
            self._systemctl("restart", SERVICE)
        elif self._run(["systemctl", "is-active", "--quiet", SERVICE])[0] != 0:
            self._systemctl("start", SERVICE)
        elif "nginx.conf" in changed:
            self._systemctl("reload", SERVICE)
        self._see_it_answer(address)
        if signs:
            self._systemctl("enable", "--quiet", PROFILE_SERVICE, PATH)
            self._systemctl("restart" if PATH in changed else "start", PATH)
            if not self.is_signed():
                self._systemctl("restart", PROFILE_SERVICE)
                if not self._profile.exists():
                    raise SettingsError(f"{PROFILE_SERVICE} signed nothing: see journalctl -u {PROFILE_SERVICE}")
        else:
            self._run(["systemctl", "disable", "--now", "--quiet", PATH, PROFILE_SERVICE])
            self._profile.unlink(missing_ok=True)

    def remove(self, *, check_mode: bool) -> list[str]:
        """Stop everything and take it away; what was (or would be) taken away."""
        places = [self._directory, self._profile.parent, *(self._units / name for name in _UNITS)]
        there = [path for path in places if path.exists()]
        if not check_mode and there:
            self._run(["systemctl", "disable", "--now", "--quiet", *_UNITS])
            for path in there:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            self._systemctl("daemon-reload")
        return [str(path) for path in there]

    def _see_it_answer(self, address: str) -> None:
        until = time.monotonic() + _ANSWERS_WITHIN
        while not self._knock(address):
            if time.monotonic() > until:
                _, said, _ = self._run(
                    ["journalctl", f"--unit={SERVICE}", "--lines=5", "--output=cat", "--no-pager", "--quiet"]
                )
                raise SettingsError(f"the web server does not answer at {address}: {said.strip()[-1000:]}")
            time.sleep(0.2)

    def _systemctl(self, *arguments: str) -> None:
        status, _, errors = self._run(["systemctl", *arguments])
        if status != 0:
            raise SettingsError(f"systemctl {' '.join(arguments)}: {errors.strip() or f'exit status {status}'}")


def answers(address: str) -> bool:
    """Whether the web server there answers, as it does to a browser that came to port 443."""
    host, _, port = address.rpartition(":")
    try:
        with create_connection((host.strip("[]"), int(port)), timeout=2) as connection:
            connection.sendall(
                b"PROXY TCP4 127.0.0.1 127.0.0.1 1 443\r\nGET /reach.json HTTP/1.0\r\nHost: localhost\r\n\r\n"
            )
            response = HTTPResponse(connection)
            response.begin()
            return response.status == 200
    except (OSError, HTTPException):
        return False
