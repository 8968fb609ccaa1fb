# SPDX-License-Identifier: GPL-3.0-or-later
"""The releases of the agent on a host: installed side by side, one of them current."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

__all__ = ["OPT", "ReleaseError", "ReleaseStore"]

OPT = Path("/opt/postroad")
COMMAND = Path("/usr/local/bin/relay-agent")

_ID = re.compile(r"[0-9a-f]{8,64}", re.ASCII)
_MARKER = "release.json"
_USED = ".last-used"

_SCRIPT = """#!{python} -I
import sys

from relay_agent.cli.main import main

sys.exit(main())
"""


class ReleaseError(Exception):
    """A release could not be installed or put to use; the text says what happened."""


class ReleaseStore:
    """`root`/releases/<id> is one release each (a virtual environment), `root`/current points at one of them.

    A release is complete when its marker file exists, which is written last. What broke off earlier is removed
    by the next installation.
    """

    def __init__(self, root: Path = OPT, command: Path = COMMAND) -> None:
        self.root = root
        self.command = command
        self.releases = root / "releases"
        self.link = root / "current"

    @contextlib.contextmanager
    def exclusive(self, seconds: float = 120.0) -> Iterator[None]:
        """Keep other runs off this host's agent meanwhile. Raises ReleaseError when one takes longer than that."""
        self.root.mkdir(parents=True, exist_ok=True)
        handle = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            deadline = time.monotonic() + seconds
            while True:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise ReleaseError(f"another run has been at work on this host for {seconds:.0f} s") from None
                    time.sleep(0.1)
            yield
        finally:
            os.close(handle)

    def path(self, release: str) -> Path:
        """Directory of a release. Raises ReleaseError for what cannot be a release's name."""
        if not _ID.fullmatch(release):
            raise ReleaseError(f"{release!r} is not the name of a release")
        return self.releases / release

    def current(self) -> str | None:
        """The release in use; None before the first."""
        try:
            name = self.link.readlink().name
        except OSError:
            return None
        return name if self.is_complete(name) else None

    def is_complete(self, release: str) -> bool:
        """Whether the release is installed in full."""
        return (self.path(release) / _MARKER).is_file()

    def installed(self) -> list[str]:
        """All complete releases, the one used last first; those never used come last."""
        names = [path.parent.name for path in self.releases.glob(f"*/{_MARKER}")]
        return sorted(names, key=lambda name: (self._last_used(name), name), reverse=True)

    def install(self, release: str, archive: Path) -> None:
        """Unpack `archive` as `release`, compile it and have it test itself. Raises ReleaseError."""
        target = self.path(release)
        staging = self.releases / f".{release}.partial"
        os.umask(0o022)
        self.releases.mkdir(parents=True, exist_ok=True)
        for leftover in self.releases.iterdir():
            if not (leftover / _MARKER).is_file():
                shutil.rmtree(leftover, ignore_errors=True)
        try:
            self._make_environment(staging)
            (marker,) = self._unpack(archive, staging)
            python = target / "bin" / "python"
            script = staging / "bin" / "relay-agent"
            script.write_text(_SCRIPT.format(python=python))
            script.chmod(0o755)
            _run([str(staging / "bin" / "python"), "-m", "compileall", "-q", "-j", "2", str(_site(staging))])
            staging.rename(target)
            self.self_test(release)
            (target / _MARKER).write_bytes(marker)
        except (OSError, tarfile.TarError, ReleaseError) as error:
            shutil.rmtree(staging, ignore_errors=True)
            shutil.rmtree(target, ignore_errors=True)
            raise ReleaseError(f"release {release} was not installed: {error}") from error

    def self_test(self, release: str) -> None:
        """Have the release check that all of it can be loaded on this host. Raises ReleaseError."""
        _run([str(self.path(release) / "bin" / "relay-agent"), "self-test"])

    def switch(self, release: str | None) -> None:
        """Make `release` the current one, atomically; None takes the link away."""
        if release is None:
            self.link.unlink(missing_ok=True)
            return
        _replace_link(self.link, Path("releases") / release)
        if not self.command.is_symlink() or self.command.readlink() != self.link / "bin" / "relay-agent":
            self.command.parent.mkdir(parents=True, exist_ok=True)
            _replace_link(self.command, self.link / "bin" / "relay-agent")

    def mark_used(self, release: str) -> None:
        """Note that the release was in use until now, or is from now on: those used last are kept."""
        (self.path(release) / _USED).touch()

    def prune(self, keep: int) -> list[str]:
        """Remove all but the current release and those used last, `keep` together. Returns the removed ones."""
        current = self.current()
        others = [name for name in self.installed() if name != current]
        removed = others[max(keep - 1, 0) :]
        for name in removed:
            # Without its marker it is incomplete at once, however far the removal gets.
            (self.path(name) / _MARKER).unlink()
            shutil.rmtree(self.path(name), ignore_errors=True)
        return removed

    def _last_used(self, release: str) -> float:
        try:
            return (self.path(release) / _USED).stat().st_mtime
        except OSError:
            return 0.0

    def _make_environment(self, directory: Path) -> None:
        # --without-pip: Debian splits ensurepip off into python3-venv; nothing but python3 is needed this way.
        interpreter = Path(sys.executable).resolve()
        _run([str(interpreter), "-m", "venv", "--without-pip", "--symlinks", str(directory)])
        for name in ("activate", "activate.csh", "activate.fish", "Activate.ps1"):
            (directory / "bin" / name).unlink(missing_ok=True)

    def _unpack(self, archive: Path, directory: Path) -> list[bytes]:
        """Unpack the packages into the environment; return the content of the release's description."""
        site = _site(directory)
        markers: list[bytes] = []
        with tarfile.open(archive) as tar:
            for member in tar:
                if member.name == _MARKER:
                    content = tar.extractfile(member)
                    assert content is not None
                    markers.append(content.read())
                elif member.name.startswith("site-packages/"):
                    _extract(tar, member, site)
        if len(markers) != 1 or "id" not in json.loads(markers[0]):
            raise ReleaseError(f"{archive.name} is not a release of the agent")
        return markers


def _extract(tar: tarfile.TarFile, member: tarfile.TarInfo, site: Path) -> None:
    """Write one plain file below `site`; Debian 12's tarfile has no filter that would refuse everything else."""
    parts = PurePosixPath(member.name).parts[1:]
    content = tar.extractfile(member) if member.isreg() else None
    if content is None or not parts or ".." in parts:
        raise ReleaseError(f"{member.name} has no place in a release")
    target = site.joinpath(*parts)
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as file:
        shutil.copyfileobj(content, file)
    target.chmod(0o755 if member.mode & 0o100 else 0o644)


def _site(environment: Path) -> Path:
    return environment / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"


def _replace_link(link: Path, target: Path) -> None:
    temporary = link.with_name(f".{link.name}.new")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    temporary.replace(link)


def _run(command: list[str]) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=120)
    if done.returncode != 0:
        lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise ReleaseError(f"{' '.join(command)} failed (status {done.returncode}): " + " / ".join(lines[-8:]))
