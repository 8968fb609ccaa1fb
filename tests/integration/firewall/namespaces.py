# SPDX-License-Identifier: GPL-3.0-or-later
"""Two hosts in one kernel: network namespaces with a cable between them."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

__all__ = ["RELAY4", "RELAY6", "Hosts", "run"]

RELAY4, PEER4 = "198.51.100.1", ("198.51.100.2", "198.51.100.3")
RELAY6, PEER6 = "fd00:51::1", ("fd00:51::2", "fd00:51::3")

_NETWORK = 0x40000000  # CLONE_NEWNET

LISTENER = """
import selectors, socket, sys
selector = selectors.DefaultSelector()
for port in map(int, sys.argv[1:]):
    server = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=512)
    selector.register(server, selectors.EVENT_READ)
print("ready", flush=True)
while True:
    for key, _ in selector.select():
        key.fileobj.accept()[0].close()
"""

CONNECT = """
import os, socket, sys
uid, source, host, port, count = int(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5])
if uid:
    os.setuid(uid)
for _ in range(count):
    try:
        socket.create_connection((host, port), timeout=0.9, source_address=(source, 0) if source else None).close()
        print("open")
    except ConnectionRefusedError:
        print("refused")
    except TimeoutError:
        print("silent")
    except OSError as error:
        print(f"error {error.errno}")
"""


def run(*args: str, text: str | None = None) -> str:
    """Run a command; its failure is an error that shows what it said."""
    done = subprocess.run(args, input=text, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(args)}: {done.stderr}{done.stdout}")
    return done.stdout


def _enter(namespace: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(namespace, _NETWORK) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), "setns")


@dataclass(frozen=True)
class Hosts:
    """A relay, whose filter is tried, and a peer with two addresses of each family."""

    relay: str
    peer: str

    @classmethod
    @contextmanager
    def made(cls) -> Iterator[Hosts]:
        """Both hosts, for as long as the context lasts."""
        hosts = cls(f"postroad-{os.getpid()}-relay", f"postroad-{os.getpid()}-peer")
        try:
            run("ip", "netns", "add", hosts.relay)
            run("ip", "netns", "add", hosts.peer)
            run("ip", "-n", hosts.relay, "link", "add", "eth0", "type", "veth", "peer", "eth0", "netns", hosts.peer)
            for host, addresses in ((hosts.relay, [RELAY4, RELAY6]), (hosts.peer, [*PEER4, *PEER6])):
                for address in addresses:
                    length, *flags = ("64", "nodad") if ":" in address else ("24",)
                    run("ip", "-n", host, "address", "add", f"{address}/{length}", "dev", "eth0", *flags)
                run("ip", "-n", host, "link", "set", "lo", "up")
                run("ip", "-n", host, "link", "set", "eth0", "up")
            yield hosts
        finally:
            for name in (hosts.relay, hosts.peer):
                subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)

    def nft(self, *args: str, text: str | None = None) -> str:
        """Run nft on the relay."""
        return run("ip", "netns", "exec", self.relay, "nft", *args, text=text)

    @contextmanager
    def inside(self, host: str) -> Iterator[None]:
        """This thread's new sockets, and the processes that it starts, are on `host` (setns(2))."""
        with Path("/proc/thread-self/ns/net").open("rb") as before, Path(f"/run/netns/{host}").open("rb") as there:
            _enter(there.fileno())
            try:
                yield
            finally:
                _enter(before.fileno())

    @contextmanager
    def listening(self, host: str, *ports: int) -> Iterator[None]:
        """Accept connections on `ports` of both families, and close each."""
        command = ["ip", "netns", "exec", host, sys.executable, "-c", LISTENER, *map(str, ports)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            assert server.stdout.readline() == "ready\n"
            try:
                yield
            finally:
                server.terminate()

    def connect(
        self, host: str, target: str, port: int, *, source: str = "", count: int = 1, uid: int = 0
    ) -> list[str]:
        """What became of each of `count` connections from `host`: open, refused, silent or error NUMBER."""
        arguments = [str(uid), source, target, str(port), str(count)]
        output = run("ip", "netns", "exec", host, "/usr/bin/python3", "-c", CONNECT, *arguments)
        return output.splitlines()

    def wait_for_link(self) -> None:
        """Return once the peer reaches the relay in both families."""
        deadline = time.monotonic() + 30
        while any(
            "error" in self.connect(self.peer, target, 9)[0] or "silent" in self.connect(self.peer, target, 9)[0]
            for target in (RELAY4, RELAY6)
        ):
            assert time.monotonic() < deadline, "the cable stays dead"
