# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds, on the controller, the release of the agent that fits a target's Python and processor.

A release is named by a hash of everything that goes into it: the agent's sources, the locked dependencies and
the platform. The name is known before anything is built, so a fleet that already runs it costs nothing.
"""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import importlib.util
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

__all__ = ["BuildError", "Platform", "ReleaseBuilder", "SourceTree"]

LAYOUT = 1
"""Raised when the archive's inner layout, or what the target makes of it, changes: then every release is new."""

EPOCH = 1_577_836_800
"""Time of every file in wheel and archive (2020-01-01), so that equal sources give equal bytes."""

OLDEST_GLIBC_MINOR = 5
"""manylinux_2_5 is the oldest tag there is (PEP 600)."""

KEPT_BUILDS = 8

_METADATA_TABLES = ("build-system", "project")


class BuildError(Exception):
    """The release could not be built; the text says which step failed and how."""


@dataclass(frozen=True)
class Platform:
    """What decides which binary wheels run on a host."""

    python: str
    """Major and minor version, such as ``3.11``."""
    machine: str
    """As of uname, such as ``x86_64`` or ``aarch64``."""
    glibc: str
    """Version of the C library, such as ``2.36``."""

    @property
    def interpreter_tag(self) -> str:
        """The wheel tag of the interpreter, such as ``cp311`` (PEP 425)."""
        return "cp" + self.python.replace(".", "")

    def tags(self) -> list[str]:
        """Every platform tag that runs here, newest first (PEP 600 and its forerunners)."""
        major, minor = (int(part) for part in self.glibc.split(".")[:2])
        if major != 2:
            raise BuildError(f"glibc {self.glibc} is not known")
        tags = [f"manylinux_2_{number}_{self.machine}" for number in range(minor, OLDEST_GLIBC_MINOR - 1, -1)]
        if minor >= 17:
            tags.append(f"manylinux2014_{self.machine}")
        return tags

    def __str__(self) -> str:
        return f"Python {self.python} on {self.machine} (glibc {self.glibc})"


@dataclass(frozen=True)
class SourceTree:
    """The files that go into the wheel, read once, so that an edit during the build cannot mix two states."""

    files: dict[str, bytes]
    lock: bytes

    @classmethod
    def read(cls, root: Path) -> SourceTree:
        """Read the sources of the checkout or installed collection at `root`. Raises BuildError."""
        try:
            files = {name: (root / name).read_bytes() for name in ("pyproject.toml", "README.md", "LICENSE")}
            for path in sorted((root / "relay_agent").rglob("*")):
                if path.is_file() and "__pycache__" not in path.parts:
                    files[path.relative_to(root).as_posix()] = path.read_bytes()
            return cls(files=files, lock=(root / "locks" / "agent.txt").read_bytes())
        except OSError as error:
            raise BuildError(f"cannot read the agent's sources: {error}") from error

    @property
    def version(self) -> str:
        """The version in pyproject.toml."""
        return str(self._pyproject()["project"]["version"])

    def _pyproject(self) -> dict[str, dict[str, object]]:
        return tomllib.loads(self.files["pyproject.toml"].decode())

    def digest(self) -> str:
        """Hash of the code and of the metadata that matter to a host; not of README or linter settings."""
        pyproject = self._pyproject()
        parts: dict[str, object] = {table: pyproject.get(table) for table in _METADATA_TABLES}
        for name, content in self.files.items():
            if name.startswith("relay_agent/"):
                parts[name] = hashlib.sha256(content).hexdigest()
        return _digest(parts)

    def lock_digest(self) -> str:
        """Hash of the locked dependencies."""
        return hashlib.sha256(self.lock).hexdigest()


class ReleaseBuilder:
    """Makes releases and keeps what it made in a cache directory.

    `report` gets a line before each step that takes seconds; `python` is an interpreter with pip and hatchling.
    """

    def __init__(
        self, source: SourceTree, cache: Path, *, python: str = sys.executable, report: Callable[[str], None]
    ) -> None:
        self.source = source
        self.cache = cache
        self._python = python
        self._report = report

    def release_id(self, platform: Platform) -> str:
        """The name of the release for `platform`: 16 hexadecimal digits."""
        parts = {
            "layout": LAYOUT,
            "source": self.source.digest(),
            "lock": self.source.lock_digest(),
            "python": platform.interpreter_tag,
            "machine": platform.machine,
            "glibc": platform.glibc,
        }
        return _digest(parts)[:16]

    def archive(self, platform: Platform) -> Path:
        """The release for `platform` as a tar file, built unless it is in the cache. Raises BuildError."""
        release = self.release_id(platform)
        target = self.cache / "releases" / f"{release}.tar.gz"
        with self._locked(f"release-{platform.interpreter_tag}-{platform.machine}"):
            if not target.exists():
                wheel = self._wheel()
                wheelhouse = self._wheelhouse(platform)
                self._report(f"putting together release {release} for {platform}")
                self._assemble(release, platform, wheel, wheelhouse, target)
                _prune(target.parent, keep=KEPT_BUILDS)
        os.utime(target)
        return target

    def _wheel(self) -> Path:
        missing = [name for name in ("pip", "hatchling") if importlib.util.find_spec(name) is None]
        if self._python == sys.executable and missing:
            raise BuildError(f"{sys.executable} has no {' and no '.join(missing)}; `make venv` makes what is needed")
        directory = self.cache / "wheels" / self.source.digest()[:16]
        with self._locked("wheel"):
            if not directory.exists():
                self._report("building the agent's wheel")
                with self._scratch() as scratch:
                    for name, content in self.source.files.items():
                        path = scratch / "source" / name
                        path.parent.mkdir(parents=True, exist_ok=True)
                        path.write_bytes(content)
                    built = scratch / "built"
                    self._pip(
                        "wheel", "--no-build-isolation", "--no-deps", "--no-index",
                        "--wheel-dir", str(built), str(scratch / "source"),
                    )  # fmt: skip
                    _publish(built, directory)
                _prune(directory.parent, keep=KEPT_BUILDS)
        return next(directory.glob("*.whl"))

    def _wheelhouse(self, platform: Platform) -> Path:
        key = _digest({"lock": self.source.lock_digest(), "tags": [platform.interpreter_tag, *platform.tags()]})[:16]
        directory = self.cache / "wheelhouse" / f"{platform.interpreter_tag}-{platform.machine}-{key}"
        with self._locked(f"wheelhouse-{platform.interpreter_tag}-{platform.machine}"):
            if not directory.exists():
                self._report(f"fetching the locked dependencies for {platform}")
                with self._scratch() as scratch:
                    requirements = scratch / "requirements.txt"
                    requirements.write_bytes(self.source.lock)
                    downloads = scratch / "wheels"
                    self._pip(
                        "download", "--require-hashes", "--no-deps", "--requirement", str(requirements),
                        "--dest", str(downloads), *_platform_options(platform),
                    )  # fmt: skip
                    _publish(downloads, directory)
        return directory

    def _assemble(self, release: str, platform: Platform, wheel: Path, wheelhouse: Path, target: Path) -> None:
        with self._scratch() as scratch:
            own = f"postroad=={self.source.version} --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}\n"
            requirements = scratch / "requirements.txt"
            requirements.write_bytes(self.source.lock.rstrip() + b"\n" + own.encode())
            site = scratch / "release" / "site-packages"
            self._pip(
                "install", "--require-hashes", "--no-deps", "--no-index", "--no-compile", "--no-warn-conflicts",
                "--find-links", str(wheelhouse), "--find-links", str(wheel.parent),
                "--requirement", str(requirements), "--target", str(site), *_platform_options(platform),
            )  # fmt: skip
            # pip writes scripts for the controller's interpreter; the target makes its own.
            shutil.rmtree(site / "bin", ignore_errors=True)
            description = {
                "id": release, "version": self.source.version, "source": self.source.digest(),
                "lock": self.source.lock_digest(), "platform": str(platform),
            }  # fmt: skip
            (scratch / "release" / "release.json").write_text(json.dumps(description, indent=2) + "\n")
            packed = scratch / "packed"
            packed.mkdir()
            _pack(scratch / "release", packed / target.name)
            target.parent.mkdir(parents=True, exist_ok=True)
            (packed / target.name).replace(target)

    def _pip(self, command: str, *options: str) -> None:
        environment = os.environ | {
            "SOURCE_DATE_EPOCH": str(EPOCH), "PIP_NO_INPUT": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PYTHONNOUSERSITE": "1",
        }  # fmt: skip
        done = subprocess.run(
            [self._python, "-m", "pip", command, "--quiet", *options],
            env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            errors = [line for line in done.stderr.splitlines() if not line.startswith("WARNING")]
            raise BuildError(f"pip {command} failed:\n" + "\n".join(errors[-15:] or [f"status {done.returncode}"]))

    @contextmanager
    def _scratch(self) -> Iterator[Path]:
        self.cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.cache, prefix=".work-") as name:
            yield Path(name)

    @contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        """Hosts are handled by parallel processes: one builds, the others wait and find it done."""
        directory = self.cache / "locks"
        directory.mkdir(parents=True, exist_ok=True)
        with (directory / name).open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield


def _platform_options(platform: Platform) -> list[str]:
    tag = platform.interpreter_tag
    options = ["--only-binary=:all:", "--python-version", platform.python, "--implementation", "cp"]
    for abi in (tag, "abi3", "none"):
        options += ["--abi", abi]
    for name in platform.tags():
        options += ["--platform", name]
    return options


def _publish(made: Path, directory: Path) -> None:
    directory.parent.mkdir(parents=True, exist_ok=True)
    made.rename(directory)


def _pack(root: Path, target: Path) -> None:
    """A tar file whose bytes depend on nothing but names and contents."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(root.rglob("*")):
            if path.is_dir() or "__pycache__" in path.parts:
                continue
            member = tarfile.TarInfo(path.relative_to(root).as_posix())
            member.size = path.stat().st_size
            member.mtime = EPOCH
            member.mode = 0o755 if re.search(r"\.so(\.|$)", path.name) else 0o644
            with path.open("rb") as content:
                tar.addfile(member, content)
    target.write_bytes(gzip.compress(buffer.getvalue(), compresslevel=6, mtime=0))


def _prune(directory: Path, *, keep: int) -> None:
    """Keep what was made or used last."""
    for path in sorted(directory.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)[keep:]:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
