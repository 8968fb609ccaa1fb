# SPDX-License-Identifier: GPL-3.0-or-later
"""The machine that the lab runs on: what it must have, and how podman must be set there."""

import os
import resource
import shutil
from dataclasses import dataclass
from pathlib import Path

from lab.errors import LabError
from lab.process import run
from lab.progress import Progress

__all__ = ["Engine", "allow_hosts", "ensure_host", "missing_packages", "podman_environment", "probe_engine"]

_CAP_SYS_RESOURCE = 24

# Enough for any host of the lab. More processes than that fail even where the machine's own limit is
# higher: podman lowers it to the number of process ids that there are.
_MOST_FILES = 65536
_MOST_PROCESSES = 30000

# The systemd of a host and its services watch files with half a dozen instances of inotify(7). All hosts of all labs
# are root's, and have one user's allowance together, of which the default is 128: a systemd that gets none exits.
_WATCHERS = "proc/sys/fs/inotify/max_user_instances"
_WATCHERS_OF_A_HOST = 10
_OTHER_WATCHERS = 256

# What must be found on the machine, and the Debian package that brings it.
_REQUIRED = {
    "podman": "podman",
    "/usr/lib/podman/netavark": "netavark",
    "/usr/lib/podman/aardvark-dns": "aardvark-dns",
    "mmdebstrap": "mmdebstrap",
    "ip": "iproute2",
    "iptables": "iptables",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "openssl": "openssl",
    "/usr/share/keyrings/debian-archive-keyring.gpg": "debian-archive-keyring",
}


@dataclass(frozen=True)
class Engine:
    """How containers have to be run on this machine.

    ``runtime`` is the OCI runtime, ``ulimits`` are podman's defaults to override
    (none on an ordinary host).
    """

    runtime: str
    ulimits: tuple[str, ...] = ()

    def containers_conf(self) -> str:
        """The text of a containers.conf(5) that says so."""
        lines = []
        if self.ulimits:
            quoted = ", ".join(f'"{limit}"' for limit in self.ulimits)
            lines += ["[containers]", f"default_ulimits = [{quoted}]", ""]
        # Without it, podman takes CNI, whose plugins nobody installed, when it finds a file of CNI's.
        lines += ["[network]", 'network_backend = "netavark"', ""]
        lines += ["[engine]", f'runtime = "{self.runtime}"', ""]
        return "\n".join(lines)


def probe_engine(root: Path = Path("/")) -> Engine:
    """Find out which runtime and limits work here.

    crun needs the unified hierarchy; with cgroup v1 or the hybrid layout only
    runc works. Podman asks for high limits, and nobody without CAP_SYS_RESOURCE
    may exceed the ones that they were given.
    """
    unified = (root / "sys/fs/cgroup/cgroup.controllers").exists()
    ulimits: tuple[str, ...] = ()
    if not _has_capability(root / "proc/self/status", _CAP_SYS_RESOURCE):
        ulimits = tuple(
            f"{name}={limit}:{limit}"
            for name, which, most in (
                ("nofile", resource.RLIMIT_NOFILE, _MOST_FILES),
                ("nproc", resource.RLIMIT_NPROC, _MOST_PROCESSES),
            )
            for limit in [_below(resource.getrlimit(which)[1], most)]
        )
    return Engine(runtime="crun" if unified else "runc", ulimits=ulimits)


def _below(limit: int, most: int) -> int:
    return most if limit == resource.RLIM_INFINITY else min(limit, most)


def _has_capability(status: Path, number: int) -> bool:
    for line in status.read_text().splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> number & 1)
    return False


def missing_packages(engine: Engine) -> list[str]:
    """The Debian packages that this machine lacks for the lab."""
    required = {**_REQUIRED, engine.runtime: engine.runtime}
    # The sbin directories are not on every user's PATH, and root's tools live there.
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    absent = {
        package
        for needed, package in required.items()
        if not (Path(needed).exists() if needed.startswith("/") else shutil.which(needed, path=path))
    }
    return sorted(absent)


def ensure_host(progress: Progress) -> None:
    """Install what the lab needs and this machine lacks, after saying so.

    Raises LabError without root, or where there is no apt to install it with.
    """
    if os.geteuid() != 0:
        raise LabError("the lab needs root (it runs systemd in containers): run this as root, e.g. with sudo")
    missing = missing_packages(probe_engine())
    if not missing:
        progress.say("this machine has all that the lab needs")
        return
    if shutil.which("apt-get") is None:
        raise LabError(f"there is no apt here: install these by hand and run this again: {' '.join(missing)}")
    progress.say(f"installing with apt, for the lab: {' '.join(missing)}")
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    with progress.step("apt-get update"):
        run(["apt-get", "-q", "update"], environment=quiet)
    with progress.step("apt-get install"):
        run(["apt-get", "-q", "-y", "install", "--no-install-recommends", *missing], environment=quiet)
    if still := missing_packages(probe_engine()):
        raise LabError(f"still missing after the installation: {' '.join(still)}")


def allow_hosts(hosts: int, progress: Progress, root: Path = Path("/")) -> None:
    """Raise the kernel's limit that so many hosts beside other labs would run into; until the next boot, never lower.

    Raises LabError where this machine does not let it be raised.
    """
    wanted = hosts * _WATCHERS_OF_A_HOST + _OTHER_WATCHERS
    limit = root / _WATCHERS
    if int(limit.read_text()) >= wanted:
        return
    progress.say(f"raising fs.inotify.max_user_instances to {wanted}, for {hosts} hosts; until the next boot")
    try:
        limit.write_text(f"{wanted}\n")
    except OSError as error:
        raise LabError(
            f"fs.inotify.max_user_instances is too low for {hosts} hosts and cannot be raised here ({error.strerror}): "
            f"set it to {wanted} outside of this container"
        ) from error


def podman_environment(conf: Path) -> dict[str, str]:
    """Write ``conf`` for this machine and return the environment that podman needs.

    The settings under /etc stay alone: they are for the machine's own containers.
    """
    text = probe_engine().containers_conf()
    if not conf.exists() or conf.read_text() != text:
        conf.parent.mkdir(parents=True, exist_ok=True)
        conf.write_text(text)
    return {"CONTAINERS_CONF": str(conf)}
