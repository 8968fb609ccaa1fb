# SPDX-License-Identifier: GPL-3.0-or-later
"""Where Debian's packages come from: the machine's own mirror, for any suite."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lab.errors import LabError
from lab.process import run

__all__ = ["Mirror", "find_mirror", "host_apt_options"]

# Settings of the machine's apt without which its mirror may not be usable.
_PASSED_ON = (
    "Acquire::Check-Date",
    "Acquire::Check-Valid-Until",
    "Acquire::ftp::Proxy",
    "Acquire::http::Proxy",
    "Acquire::https::Proxy",
)
_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


@dataclass(frozen=True)
class Mirror:
    """The addresses of an archive and of its security updates."""

    archive: str
    security: str

    def sources(self, suite: str) -> str:
        """A sources file in one-line format for ``suite`` with its updates."""
        return "".join(
            f"deb [signed-by={_KEYRING}] {uri} {name} main\n"
            for uri, name in (
                (self.archive, suite),
                (self.archive, f"{suite}-updates"),
                (self.security, f"{suite}-security"),
            )
        )


def find_mirror(root: Path = Path("/")) -> Mirror:
    """The mirror that this machine uses, or the one that POSTROAD_DEBIAN_MIRROR names.

    Raises LabError when there is neither, as on a machine that is no Debian.
    """
    named = os.environ.get("POSTROAD_DEBIAN_MIRROR", "").rstrip("/")
    if named:
        return Mirror(named, f"{named}-security")
    release = _os_release(root / "etc/os-release")
    codename = release.get("VERSION_CODENAME", "")
    archive = security = ""
    for uri, suites, components in _entries(root / "etc/apt"):
        if release.get("ID") != "debian" or not codename or "main" not in components:
            continue
        # Other archives (a vendor's) may carry the suite's name, too: they are not laid out as Debian's.
        if codename in suites and uri.rstrip("/").endswith("/debian"):
            archive = uri.rstrip("/")
        if f"{codename}-security" in suites:
            security = uri.rstrip("/")
    if not archive:
        raise LabError(
            "no Debian mirror in this machine's apt sources: name one, as in "
            "POSTROAD_DEBIAN_MIRROR=http://mirror.example.org/debian make up"
        )
    return Mirror(archive=archive, security=security or f"{archive}-security")


def _os_release(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    pairs = (line.split("=", 1) for line in path.read_text().splitlines() if "=" in line)
    return {key: value.strip().strip('"') for key, value in pairs}


def _entries(apt: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    """URI, suites and components of each enabled binary source, in both formats of sources.list(5)."""
    parts = apt / "sources.list.d"
    for path in [apt / "sources.list", *sorted(parts.glob("*.list"))]:
        if path.exists():
            yield from _one_line_entries(path.read_text())
    for path in sorted(parts.glob("*.sources")):
        yield from _deb822_entries(path.read_text())


def _one_line_entries(text: str) -> Iterator[tuple[str, list[str], list[str]]]:
    for line in text.splitlines():
        words = line.split("#", 1)[0].split()
        if not words or words[0] != "deb":
            continue
        rest = words[1:]
        if rest and rest[0].startswith("["):
            while rest and not rest[0].endswith("]"):
                rest = rest[1:]
            rest = rest[1:]
        if len(rest) >= 3:
            yield rest[0], [rest[1]], rest[2:]


def _deb822_entries(text: str) -> Iterator[tuple[str, list[str], list[str]]]:
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    for stanza in "\n".join(lines).split("\n\n"):
        fields: dict[str, list[str]] = {}
        key = ""
        for line in stanza.splitlines():
            if line.startswith((" ", "\t")):
                fields.setdefault(key, []).extend(line.split())
            elif ":" in line:
                key, value = line.split(":", 1)
                key = key.strip().lower()
                fields[key] = value.split()
        if "deb" not in fields.get("types", []) or fields.get("enabled", ["yes"])[0].lower() == "no":
            continue
        for uri in fields.get("uris", []):
            yield uri, fields.get("suites", []), fields.get("components", [])


def host_apt_options() -> list[str]:
    """Those of the machine's apt settings that its mirror depends on, as ``name "value";``."""
    if shutil.which("apt-config") is None:
        return []
    options = []
    for line in run(["apt-config", "dump"]).splitlines():
        name = line.split(" ", 1)[0]
        if name in _PASSED_ON and not line.endswith(' "";'):
            options.append(line)
    return options
