# SPDX-License-Identifier: GPL-3.0-or-later
"""Making a lab, mending it, and removing it without a trace."""

import errno
import hashlib
import json
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lab import power
from lab.errors import LabError
from lab.files import HostFile, collect, pack, values_for
from lab.host import allow_hosts
from lab.images import Recipe, ensure_images
from lab.podman import Podman
from lab.process import run, succeeds
from lab.progress import Progress
from lab.state import State
from lab.topology import Host, Lab

__all__ = ["Lifecycle", "exclusive"]

_LABEL_LAB = "postroad.lab"
_LABEL_CHECKOUT = "postroad.checkout"
_LABEL_SETUP = "postroad.setup"

_NEVER_RAN = ("created", "configured", "initialized")

# Seconds that a host may take from its start until systemd says that it is up.
_BOOT_TIMEOUT = 90.0

# So many hosts are made, or waited for, at once: more of them only wait for each other's processor.
_AT_ONCE = 8

# Not `is-system-running --wait`: asked at the wrong moment, it misses the end of the boot and hangs.
_WAIT_UNTIL_BOOTED = (
    "for try in $(seq 100); do state=$(systemctl is-system-running);"
    ' case "$state" in initializing|starting|offline|unknown|"") sleep 0.2;; *) break;; esac; done; echo "$state"'
)


@contextmanager
def exclusive(name: str, progress: Progress) -> Iterator[None]:
    """Let one run at a time on this machine work on ``name``; says so while it waits for another.

    The lock is a name in the kernel's memory (unix(7), abstract sockets): gone with its process,
    however that ends, and no file stays behind.
    """
    with socket.socket(socket.AF_UNIX) as lock:
        if not _taken(lock, name):
            with progress.step(f"another run is busy with {name}; waiting for its end"):
                while not _taken(lock, name):
                    time.sleep(0.2)
        yield


def _taken(lock: socket.socket, name: str) -> bool:
    try:
        lock.bind(f"\0postroad-lab-{name}")
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        return False
    return True


class Lifecycle:
    """One lab of one checkout: ``create``, ``destroy``, ``status`` and a host's power switch."""

    def __init__(
        self, lab: Lab, state: State, recipes: dict[str, Recipe], files: Path, podman: Podman, progress: Progress
    ) -> None:
        self._lab = lab
        self._state = state
        self._recipes = recipes
        self._files = files
        self._podman = podman
        self._progress = progress

    def create(self) -> None:
        """Bring the whole lab up: make what is missing, start what stands still, replace what differs.

        Raises LabError when another checkout has a lab of this name, or a host does not come up.
        """
        found = self._own_containers()
        allow_hosts(len(self._lab.hosts), self._progress)
        used = {host.image for host in self._lab.hosts.values()}
        with exclusive("images", self._progress):
            ensure_images([self._recipes[name] for name in sorted(used)], self._podman, self._progress)
        self._state.prepare(certificates_for=[host.name for host in self._lab.hosts.values() if host.certificate])
        self._remove_strangers(found)
        if self._remove_changed_networks():
            found = self._own_containers()
        self._make_networks()
        hosts = list(self._lab.hosts.values())
        setups = {host.name: self._setup(host) for host in hosts}
        due = [host for host in hosts if self._needs(host, setups[host.name], found)]
        if due:
            with self._progress.step(f"starting {', '.join(host.name for host in due)}"):
                self._in_parallel(lambda host: self._bring_up(host, setups[host.name], found), due)
        self._join_networks()
        with self._progress.step("waiting until every host is up and answers by SSH"):
            self._in_parallel(self._wait_until_up, hosts)

    def destroy(self, *, force: bool = False) -> None:
        """Remove hosts, networks and the state directory. The images stay.

        ``force``: also when another checkout made them. Raises LabError without it.
        """
        found = self._containers() if force else self._own_containers()
        if self._state.ssh_config.exists():
            for host in self._lab.hosts.values():
                self._close_shared_connection(host)
        if found:
            with self._progress.step(f"removing {len(found)} hosts"):
                self._podman("rm", "--force", "--time=0", *found)
        networks = [entry["name"] for entry in self._podman.labelled("network", {_LABEL_LAB: self._lab.name})]
        if networks:
            with self._progress.step(f"removing {len(networks)} networks"):
                self._podman("network", "rm", "--force", *networks)
        self._state.remove()
        self._progress.say(f"lab {self._lab.name} is gone")

    def status(self) -> list[dict[str, str]]:
        """Each host with its addresses and podman's word on its state."""
        found = self._containers()
        return [
            {
                "host": host.name,
                "ipv4": host.address.ipv4,
                "ipv6": host.address.ipv6,
                "state": found[host.container]["State"] if host.container in found else "absent",
            }
            for host in self._lab.hosts.values()
        ]

    def stop(self, name: str, *, hard: bool = False) -> None:
        """Switch a host off in good order, or ``hard``: kill every process in it at once."""
        host = self._lab.host(name)
        if hard:
            power.cut(self._first_process(host.container))
        self._podman("stop", "--time=20", host.container)
        # Not before: whoever uses it would lose the connection to a host that is still alive, and may still act on it.
        self._close_shared_connection(host)

    def _first_process(self, container: str) -> int:
        """Its process id here; raises LabError when the container does not run."""
        pid = int(self._podman.inspect("container", [container])[0]["State"]["Pid"])
        if pid == 0:
            raise LabError(f"{container} does not run: it has no power to cut")
        return pid

    def start(self, name: str) -> None:
        """Switch a host on and wait until it is up."""
        host = self._lab.host(name)
        self._podman("start", host.container)
        self._join_networks()
        self._wait_until_up(host)

    def restart(self, name: str, *, hard: bool = False) -> None:
        """Reboot a host and wait until it is up; ``hard`` is a power cut instead of a shutdown."""
        self.stop(name, hard=hard)
        self.start(name)

    def _containers(self) -> dict[str, dict[str, Any]]:
        labels = {_LABEL_LAB: self._lab.name}
        return {entry["Names"][0]: entry for entry in self._podman.labelled("container", labels)}

    def _own_containers(self) -> dict[str, dict[str, Any]]:
        """This lab's containers by name; raises LabError when they are another checkout's."""
        found = {entry["Names"][0]: entry for entry in self._podman.labelled("container", {_LABEL_LAB: self._lab.name})}
        ours = str(self._state.checkout)
        for entry in found.values():
            owner = entry["Labels"].get(_LABEL_CHECKOUT, "")
            # A checkout that was deleted cannot clear up after itself any more.
            if owner != ours and Path(owner).exists():
                raise LabError(
                    f"lab {self._lab.name} on this machine belongs to the checkout {owner}: "
                    "remove it there, or with `destroy --force` here"
                )
        return found

    def _remove_strangers(self, found: dict[str, dict[str, Any]]) -> None:
        known = {host.container for host in self._lab.hosts.values()}
        for container in sorted(set(found) - known):
            self._progress.say(f"removing {container}, which is no longer in the topology")
            self._podman("rm", "--force", "--time=0", container)
            del found[container]

    def _remove_changed_networks(self) -> bool:
        """Remove networks, with the hosts on them, that have other ranges than they should; whether any."""
        wanted = {
            network.podman_name: {str(network.ipv4), str(network.ipv6)} for network in self._lab.networks.values()
        }
        present = self._podman.labelled("network", {_LABEL_LAB: self._lab.name})
        changed = [
            entry["name"]
            for entry in present
            if {subnet["subnet"] for subnet in entry["subnets"]} != wanted.get(entry["name"])
        ]
        if changed:
            self._progress.say(f"removing {', '.join(changed)} and what is on it: the addresses are others now")
            self._podman("network", "rm", "--force", *changed)
        return bool(changed)

    def _make_networks(self) -> None:
        there = {entry["name"] for entry in self._podman.labelled("network", {_LABEL_LAB: self._lab.name})}
        for network in self._lab.networks.values():
            if network.podman_name in there:
                continue
            self._progress.say(f"network {network.name}: {network.ipv4} and {network.ipv6}")
            self._podman(
                *("network", "create", "--internal", "--disable-dns", "--ipv6"),
                *(f"--subnet={network.ipv4}", f"--subnet={network.ipv6}"),
                *(f"--label={_LABEL_LAB}={self._lab.name}", network.podman_name),
            )

    def _join_networks(self) -> None:
        """Give the controller its addresses: an internal network's bridge is made without any."""
        names = [network.podman_name for network in self._lab.networks.values()]
        bridges = {entry["name"]: entry["network_interface"] for entry in self._podman.inspect("network", names)}
        for network in self._lab.networks.values():
            bridge = bridges[network.podman_name]
            here = network.address(self._lab.controller)
            shown = json.loads(run(["ip", "-json", "address", "show", "dev", bridge]))
            present = {info["local"] for entry in shown for info in entry.get("addr_info", [])}
            if here.ipv4 not in present:
                run(["ip", "address", "add", f"{here.ipv4}/{network.ipv4.prefixlen}", "dev", bridge])
            if here.ipv6 not in present:
                run(["ip", "address", "add", f"{here.ipv6}/{network.ipv6.prefixlen}", "dev", bridge, "nodad"])

    def _setup(self, host: Host) -> tuple[list[str], bytes]:
        """The options to make a host with, and the archive of its files."""
        files = collect(self._files, host, values_for(self._lab, host))
        key = self._state.host_key(host.name)
        files["etc/ssh/ssh_host_ed25519_key"] = HostFile(key.read_bytes(), mode=0o600)
        files["etc/ssh/ssh_host_ed25519_key.pub"] = HostFile(key.with_suffix(".pub").read_bytes())
        files["root/.ssh/authorized_keys"] = HostFile(self._state.ssh_key.with_suffix(".pub").read_bytes(), mode=0o600)
        if host.certificate:
            certificate, private = self._state.certificate(host.name)
            files[f"{host.certificate}.pem"] = HostFile(certificate.read_bytes())
            files[f"{host.certificate}.key"] = HostFile(private.read_bytes(), mode=0o600)
        archive = pack(files)
        options = self._options(host)
        return options, archive

    def _options(self, host: Host) -> list[str]:
        options = [
            f"--hostname={host.name}",
            "--systemd=always",
            # For the host's own firewall and routes, and for the sandboxes of its units.
            "--cap-add=NET_ADMIN,NET_RAW,SYS_ADMIN",
            # AppArmor's profile for containers forbids the mounts that a unit's sandbox is made of.
            "--security-opt=apparmor=unconfined",
            # The host's own files, as on a real one, instead of podman's mounts over them.
            "--dns=none",
            "--no-hosts",
            # An address is usable at once: nobody else in this network can have it.
            "--sysctl=net.ipv6.conf.default.accept_dad=0",
            "--sysctl=net.ipv6.conf.all.accept_dad=0",
        ]
        if host.forwards:
            options += ["--sysctl=net.ipv4.ip_forward=1", "--sysctl=net.ipv6.conf.all.forwarding=1"]
        for number, (network, address) in enumerate(host.networks):
            # A new hardware address at every start would be unreachable until the others' neighbour
            # tables forget the old one, half a minute later.
            settings = f"ip={address.ipv4},ip={address.ipv6},mac={address.mac},interface_name=eth{number}"
            options.append(f"--network={network.podman_name}:{settings}")
        return [*options, self._recipes[host.image].tag, "/sbin/init"]

    @staticmethod
    def _digest(setup: tuple[list[str], bytes]) -> str:
        options, archive = setup
        return hashlib.sha256(json.dumps(options).encode() + archive).hexdigest()[:16]

    def _needs(self, host: Host, setup: tuple[list[str], bytes], found: dict[str, dict[str, Any]]) -> bool:
        entry = found.get(host.container)
        if entry is None:
            return True
        return bool(entry["State"] != "running" or entry["Labels"].get(_LABEL_SETUP) != self._digest(setup))

    def _bring_up(self, host: Host, setup: tuple[list[str], bytes], found: dict[str, dict[str, Any]]) -> None:
        entry = found.get(host.container)
        digest = self._digest(setup)
        # One that never ran may lack its files: an earlier run was broken off between the two.
        if entry is not None and (entry["State"] in _NEVER_RAN or entry["Labels"].get(_LABEL_SETUP) != digest):
            self._progress.say(f"{host.name} is not as it should be now: making it anew")
            self._close_shared_connection(host)
            self._podman("rm", "--force", "--time=0", host.container)
            entry = None
        if entry is None:
            options, archive = setup
            self._podman(
                *("create", f"--name={host.container}", f"--label={_LABEL_LAB}={self._lab.name}"),
                *(f"--label={_LABEL_CHECKOUT}={self._state.checkout}", f"--label={_LABEL_SETUP}={digest}"),
                *options,
            )
            # Before its first start, so that it boots into its final state.
            self._podman("cp", "-", f"{host.container}:/", stdin=archive)
        self._podman("start", host.container)

    @staticmethod
    def _in_parallel(action: Callable[[Host], None], hosts: list[Host]) -> None:
        with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
            for done in [pool.submit(action, host) for host in hosts]:
                done.result()

    def _ssh(self, host: Host, command: str, *, timeout: float) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["ssh", "-F", str(self._state.ssh_config), host.name, command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def _close_shared_connection(self, host: Host) -> None:
        succeeds(["ssh", "-F", str(self._state.ssh_config), "-O", "exit", host.name])

    def _wait_until_up(self, host: Host) -> None:
        deadline = time.monotonic() + _BOOT_TIMEOUT
        answer = "no answer"
        while time.monotonic() < deadline:
            try:
                done = self._ssh(host, _WAIT_UNTIL_BOOTED, timeout=30)
            except subprocess.TimeoutExpired:
                continue
            answer = done.stdout.strip() or done.stderr.strip()
            if answer == "running":
                return
            if answer == "degraded":
                failed = self._ssh(host, "systemctl --failed --plain --no-legend", timeout=30).stdout
                units = " ".join(line.split()[0] for line in failed.splitlines() if line.strip())
                raise LabError(f"{host.name} is up, but these units failed: {units}")
            time.sleep(0.2)
        raise LabError(f"{host.name} did not come up in {_BOOT_TIMEOUT:.0f} s: {answer}")
