# SPDX-License-Identifier: GPL-3.0-or-later
"""`relay-agent serve` with a configuration for the benchmark: three ports, one account, a route to the sink."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.rivals.relay import (
    ACCOUNT,
    MASS_ACCOUNT,
    PASSWORD,
    Certificate,
    Ports,
    RelayError,
    free_ports,
    wait_for_greeting,
)

__all__ = ["MALLOC", "Agent"]

#: As in the agent's systemd unit: without them glibc returns memory to the kernel after every large block.
MALLOC = {
    "MALLOC_TRIM_THRESHOLD_": "268435456",
    "MALLOC_MMAP_THRESHOLD_": "33554432",
    "MALLOC_ARENA_MAX": "2",
}


_SENDER_DOMAIN = "alpha.test"


class Agent:
    """The project's own relay, run as its unit runs it but for the sandbox; its log goes to a file.

    directory: for configuration, log and queue, on a real disk. sink: the port of the next hop.
    sessions: how many the agent shall take at once. environment: further variables, e.g. for a profiler.
    command: what is put in front of the interpreter, e.g. a profiler. signing: by DKIM, with RSA and Ed25519.
    delivery: more lines of that section. routed: everything goes to the sink, which is at `sink_address`; else to the
    MX hosts.
    """

    name = "agent"

    def __init__(
        self,
        directory: Path,
        certificate: Certificate,
        sink: int,
        *,
        sessions: int = 5000,
        environment: dict[str, str] | None = None,
        command: tuple[str, ...] = (),
        signing: bool = False,
        delivery: str = "",
        routed: bool = True,
        sink_address: str = "127.0.0.1",
    ) -> None:
        self.ports = Ports(*free_ports(3))
        self.pid = 0
        self.directory = directory
        self._certificate = certificate
        self._sink = sink
        self._sessions = sessions
        self._environment = {**MALLOC, **(environment or {})}
        self._command = command
        self._signing = signing
        self._delivery = delivery
        self._routed = routed
        self._sink_address = sink_address
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def queue(self) -> Path:
        """The queue's directory."""
        return self.directory / "queue"

    def configure(self) -> Path:
        """Write the configuration anew; the queue stays. Returns the file."""
        from relay_agent.accounts.hashing import hash_password

        self.queue.mkdir(parents=True, exist_ok=True)
        accounts = self.directory / "accounts.toml"
        hashed = hash_password(PASSWORD)
        names = (ACCOUNT, MASS_ACCOUNT)
        accounts.write_text("".join(f'[[account]]\nname = "{name}"\nhash = "{hashed}"\n' for name in names))
        accounts.chmod(0o600)
        config = self.directory / "agent.toml"
        listeners = "".join(
            f'[[listener]]\naddress = "127.0.0.1"\nport = {port}\ntls = "{tls}"\nauth = "{auth}"\n'
            for port, tls, auth in (
                (self.ports.plain, "none", "none"),
                (self.ports.starttls, "starttls", "required"),
                (self.ports.implicit, "implicit", "required"),
            )
        )
        config.write_text(
            f'hostname = "bench.test"\n{listeners}'
            f'[tls]\ncertificate = "{self._certificate.certificate}"\nkey = "{self._certificate.key}"\n'
            '[submission]\ntrusted_networks = ["127.0.0.0/8"]\n'
            f"max_connections = {self._sessions}\nmax_connections_per_source = {self._sessions}\n"
            # One account sends nearly everything; Postfix has no such limits either.
            "[policy]\nmessages_per_hour = 0\nrecipients_per_hour = 0\nsessions = 0\n"
            f'[accounts]\nfile = "{accounts}"\n[queue]\ndirectory = "{self.queue}"\n'
            f'[control]\nsocket = "{self.directory}/control.sock"\n'
            f"{self._route() if self._routed else ''}"
            f"[delivery]\nmax_connections_per_destination = 20\nport25_check = []\n{self._delivery}"
            f"{self._signing_keys() if self._signing else ''}"
        )
        return config

    def _route(self) -> str:
        via = f'{{ host = "{self._sink_address}", port = {self._sink}, tls = "none" }}'
        return f'[[route]]\ndomains = ["*"]\nvia = [{via}]\n'

    def _signing_keys(self) -> str:
        """Keys of both kinds for the senders' domain; returns their part of the configuration."""
        from relay_agent.dkim.keys import Algorithm, KeyState, make_key, render_key

        parts = []
        for algorithm in Algorithm:
            key = replace(
                make_key(_SENDER_DOMAIN, algorithm.key_type, algorithm, datetime.now(UTC)), state=KeyState.ACTIVE
            )
            path = self.directory / f"{key.selector}.dkim"
            path.write_bytes(render_key(key))
            path.chmod(0o600)
            parts.append(f'[[dkim.key]]\ndomain = "{key.domain}"\nselector = "{key.selector}"\nfile = "{path}"\n')
        return "".join(parts)

    def start(self) -> None:
        """Raises RelayError with the end of the log."""
        config = self.configure()
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*self._command, sys.executable, "-m", "relay_agent", "serve", "--config", str(config)],
                stdout=log,
                stderr=log,
                env={**os.environ, **self._environment},
            )
        self.pid = self._process.pid
        if not wait_for_greeting(self.ports.plain, self._process, 60.0):
            self.stop()
            raise RelayError(f"the agent did not start: {self.logged()}")

    def stop(self) -> None:
        """SIGTERM, and after a while SIGKILL."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(40)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def logged(self) -> str:
        """The last lines of its log."""
        try:
            return "\n".join((self.directory / "log").read_text("utf-8", "replace").splitlines()[-20:])
        except OSError:
            return ""
