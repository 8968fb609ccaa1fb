# SPDX-License-Identifier: GPL-3.0-or-later
"""The files that a host starts with: trees below ``files/``, filled in and packed for podman."""

import io
import re
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lab.errors import LabError
from lab.topology import Host, Lab

__all__ = ["HostFile", "collect", "fill_in", "pack", "values_for"]

# The same for ever, so that an archive's bytes tell whether anything changed; not zero, which nsd
# takes for "this zone was never written".
_MTIME = 1_700_000_000

_PLACEHOLDER = re.compile(r"\{\{\s*([a-z0-9_.-]+)\s*\}\}")


@dataclass(frozen=True)
class HostFile:
    """One file of a host: its content, or the target that it links to."""

    content: bytes = b""
    mode: int = 0o644
    link: str | None = None


def fill_in(text: str, values: Mapping[str, str], *, where: str) -> str:
    """Replace each ``{{ name }}``; raises LabError for a name that nobody knows."""

    def value(match: re.Match[str]) -> str:
        try:
            return values[match[1]]
        except KeyError:
            raise LabError(f"{where}: {{{{ {match[1]} }}}} is not a value that the lab has") from None

    return _PLACEHOLDER.sub(value, text)


def values_for(lab: Lab, host: Host) -> dict[str, str]:
    """What the templates of a host may use."""
    values = {
        "zone": lab.zone,
        "name": host.name,
        "fqdn": host.fqdn,
        "ipv4": host.address.ipv4,
        "ipv6": host.address.ipv6,
        "resolver.ipv4": lab.resolver.address.ipv4,
        "resolver.ipv6": lab.resolver.address.ipv6,
        "routes": _routes(lab, host),
        "host_records": "\n".join(
            f"{other.name} A {other.address.ipv4}\n{other.name} AAAA {other.address.ipv6}"
            for other in lab.hosts.values()
        ),
    }
    for network in lab.networks.values():
        values[f"networks.{network.name}.ipv4"] = str(network.ipv4)
        values[f"networks.{network.name}.ipv6"] = str(network.ipv6)
    return values


def _routes(lab: Lab, host: Host) -> str:
    if host.forwards:
        return ""
    router = host.networks[0][0].address(lab.router)
    return f"route replace default via {router.ipv4}\nroute replace default via {router.ipv6}"


def collect(tree: Path, host: Host, values: Mapping[str, str]) -> dict[str, HostFile]:
    """Read ``base`` and the host's own trees below ``tree``; a later tree wins.

    A file ``NAME.in`` is a template of NAME. Keys of the result are paths without leading slash.
    """
    files: dict[str, HostFile] = {}
    for layer in ("base", *host.files):
        root = tree / layer
        if not root.is_dir():
            raise LabError(f"topology: host {host.name} wants files/{layer}, which does not exist")
        for path in sorted(root.rglob("*")):
            if not path.is_file():
                continue
            name = str(path.relative_to(root))
            content = path.read_bytes()
            if path.suffix == ".in":
                name = name.removesuffix(".in")
                content = fill_in(content.decode(), values, where=f"files/{layer}/{name}.in").encode()
            files[name] = HostFile(content, mode=0o755 if path.stat().st_mode & 0o100 else 0o644)
    for unit in ("lab-routes.service", *host.enable):
        wants = f"etc/systemd/system/multi-user.target.wants/{unit}"
        files[wants] = HostFile(link=f"{_unit_directory(unit, files)}/{unit}")
    return files


def _unit_directory(unit: str, files: Mapping[str, HostFile]) -> str:
    return "/etc/systemd/system" if f"etc/systemd/system/{unit}" in files else "/lib/systemd/system"


def pack(files: Mapping[str, HostFile]) -> bytes:
    """A tar archive of the files, all root's. The same files give the same bytes."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, file in sorted(files.items()):
            entry = tarfile.TarInfo(name)
            entry.mode = file.mode
            entry.mtime = _MTIME
            if file.link is not None:
                entry.type = tarfile.SYMTYPE
                entry.linkname = file.link
                archive.addfile(entry)
            else:
                entry.size = len(file.content)
                archive.addfile(entry, io.BytesIO(file.content))
    return buffer.getvalue()
