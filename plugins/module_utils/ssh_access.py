# SPDX-License-Identifier: GPL-3.0-or-later
"""By which way the operator reaches this host: what a packet filter must never cut."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.postroad.relay.plugins.module_utils.service_user import CommandRunner

__all__ = ["Listener", "SshConnection", "current_connection", "parse_listeners", "sshd_ports", "tcp_listeners"]

PROC = Path("/proc")


@dataclass(frozen=True, kw_only=True)
class SshConnection:
    """The two ends of the SSH connection that this run came by."""

    client: str
    client_port: int
    server: str
    server_port: int

    def __str__(self) -> str:
        """The form of sshd's own SSH_CONNECTION variable."""
        return f"{self.client} {self.client_port} {self.server} {self.server_port}"


@dataclass(frozen=True, kw_only=True)
class Listener:
    """A TCP port that programs on this host accept connections on."""

    address: str
    port: int
    programs: tuple[str, ...]
    pids: tuple[int, ...]

    @property
    def is_loopback(self) -> bool:
        """Whether only this host itself can connect."""
        try:
            return ipaddress.ip_address(self.address).is_loopback
        except ValueError:  # "*": all addresses
            return False


def current_connection() -> SshConnection | None:
    """The SSH connection above this process, or None (a local or container connection).

    sudo clears SSH_CONNECTION from the environment, so the parents are asked until one knows.
    """
    for environment in _environments():
        fields = environment.get("SSH_CONNECTION", "").split()
        if len(fields) == 4:
            client, client_port, server, server_port = fields
            return SshConnection(
                client=client, client_port=int(client_port), server=server, server_port=int(server_port)
            )
    return None


def _environments() -> Iterator[dict[str, str]]:
    yield dict(os.environ)
    pid = os.getppid()
    while pid > 1:
        try:
            block = (PROC / str(pid) / "environ").read_bytes()
        except OSError:
            return
        pairs = (entry.partition("=") for entry in block.decode(errors="replace").split("\0"))
        yield {name: value for name, _, value in pairs}
        pid = _parent(pid)


def _parent(pid: int) -> int:
    """The parent's id; 0 when the process is gone."""
    try:
        status = (PROC / str(pid) / "status").read_text()
    except OSError:
        return 0
    found = re.search(r"^PPid:\s+(\d+)", status, re.MULTILINE)
    return int(found[1]) if found else 0


def parse_listeners(output: str) -> list[Listener]:
    """What `ss -Hltnp` printed, a listener a line."""
    listeners = []
    for line in output.splitlines():
        fields = line.split(maxsplit=5)
        if len(fields) < 5:
            continue
        address, _, port = fields[3].rpartition(":")
        users = re.findall(r'\("([^"]+)",pid=(\d+)', fields[5]) if len(fields) == 6 else []
        listeners.append(
            Listener(
                address=address.strip("[]").partition("%")[0],
                port=int(port),
                programs=tuple(sorted({name for name, _ in users})),
                pids=tuple(sorted({int(pid) for _, pid in users})),
            )
        )
    return listeners


def tcp_listeners(run_command: CommandRunner) -> list[Listener]:
    """All TCP listeners of this host; none when `ss` is not there."""
    status, output, _ = run_command(["ss", "-Hltnp"])
    return parse_listeners(output) if status == 0 else []


def sshd_ports(run_command: CommandRunner, listeners: list[Listener]) -> set[int]:
    """The ports that sshd serves: those it really listens on, else those of its configuration.

    A port forwarded for a session (`ssh -R`) belongs to a child of sshd and goes with it: not counted.
    """
    daemons = {pid for listener in listeners if "sshd" in listener.programs for pid in listener.pids}
    ports = {
        listener.port
        for listener in listeners
        if "sshd" in listener.programs
        and not listener.is_loopback
        and any(_parent(pid) not in daemons for pid in listener.pids)
    }
    if ports:
        return ports
    status, output, _ = run_command(["/usr/sbin/sshd", "-T"])
    if status != 0:
        return set()
    return {int(port) for port in re.findall(r"^port (\d+)", output, re.MULTILINE)}
