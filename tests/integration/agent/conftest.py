# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole agent as its own process, with smtp-sink of Postfix as the next hop."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import smtplib
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from relay_agent.accounts.hashing import hash_password
from tests.integration.certificates import Certificate, make_certificate
from tests.integration.dumps import whole_dumps
from tests.ports import free_port

PASSWORD = "s3cret"
SECURE = """
[[listener]]
address = "127.0.0.1"
port = {starttls}
tls = "starttls"
[[listener]]
address = "127.0.0.1"
port = {implicit}
tls = "implicit"
"""
PLAIN = """
[[listener]]
address = "127.0.0.1"
port = {starttls}
tls = "none"
auth = "none"
[submission]
trusted_networks = ["127.0.0.0/8"]
"""


def wait_for(condition: Callable[[], bool], seconds: float = 30.0, what: str = "it") -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds} s"
        time.sleep(0.05)


def running(pid: int) -> bool:
    """Whether a process has not ended yet; one that nobody has waited for has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 1) as probe:
            probe.settimeout(2)
            return probe.recv(4) == b"220 "
    except OSError:
        return False


@dataclass
class Sink:
    """Postfix's smtp-sink, which writes every message to a file of its own."""

    directory: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    def start(self, *options: str) -> None:
        self.process = subprocess.Popen(
            [
                "smtp-sink",
                "-u",
                "nobody" if os.getuid() == 0 else "",
                *options,
                "-d",
                f"{self.directory}/%M.",
                f"127.0.0.1:{self.port}",
                "100",
            ]
        )
        wait_for(lambda: answers(self.port), what="smtp-sink's greeting")

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def messages(self) -> list[bytes]:
        """The messages that came, whole ones only."""
        return [path.read_bytes() for path in sorted(whole_dumps(self.directory, self.process))]


@dataclass
class Agent:
    """`relay-agent serve` with a configuration in a directory of its own."""

    directory: Path
    certificate: Certificate
    sink: Sink
    starttls: int = field(default_factory=free_port)
    implicit: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None
    environment: dict[str, str] = field(default_factory=dict)
    program: list[str] = field(default_factory=lambda: [sys.executable, "-m", "relay_agent"])

    @property
    def config(self) -> Path:
        return self.directory / "agent.toml"

    def configure(self, extra: str = "", *, listeners: str = "") -> None:
        (self.directory / "accounts.toml").write_text(
            f'[[account]]\nname = "alice"\nhash = "{hash_password(PASSWORD)}"\n'
        )
        self.config.write_text(f"""
hostname = "relay.test"
{(listeners or SECURE).format(starttls=self.starttls, implicit=self.implicit)}
[tls]
certificate = "{self.certificate.certificate}"
key = "{self.certificate.key}"
[accounts]
file = "{self.directory}/accounts.toml"
[queue]
directory = "{self.directory}/queue"
[control]
socket = "{self.directory}/control.sock"
[[route]]
domains = ["*"]
via = [{{ host = "127.0.0.1", port = {self.sink.port}, tls = "none" }}]
[delivery]
retry_first = "1s"
port25_check = []
{extra}
""")

    def launch(self) -> None:
        """Start it, and do not wait for anything."""
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*self.program, "serve", "--config", str(self.config)],
                stdout=log,
                stderr=log,
                env={**os.environ, **self.environment},
            )

    def start(self) -> None:
        """Start it and wait for its greeting; not for that of a worker which a kill -9 has left alone for a moment."""
        before = self._starts()
        self.launch()
        wait_for(lambda: self._starts() > before or self.ended(), what="all of the agent's workers")
        wait_for(lambda: answers(self.starttls) or self.ended(), what="the agent's greeting")
        assert not self.ended(), (self.directory / "log").read_text()

    def _starts(self) -> int:
        return len(self.events("started")) if (self.directory / "log").exists() else 0

    def ended(self) -> bool:
        return self.process is None or self.process.poll() is not None

    def signal(self, number: int) -> int | None:
        """Send a signal; for those that end it, wait and return the exit status."""
        assert self.process is not None
        self.process.send_signal(number)
        return None if number == signal.SIGHUP else self.process.wait(40)

    def kill_all(self) -> None:
        """SIGKILL for the agent and all its workers, as when the host loses its power. They are stopped first: a worker
        that only loses its supervisor puts its stores in order before it ends."""
        assert self.process is not None
        number = self.process.pid
        workers = [int(each) for each in Path(f"/proc/{number}/task/{number}/children").read_text().split()]
        for what in (signal.SIGSTOP, signal.SIGKILL):
            for pid in (number, *workers):
                with contextlib.suppress(ProcessLookupError):  # one that was just ending
                    os.kill(pid, what)
        self.process.wait()
        wait_for(lambda: not any(map(running, workers)), what="the end of the workers")

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "relay_agent", *words], capture_output=True, text=True, timeout=90, check=False
        )

    def submit(self, body: str, *, implicit: bool = False, recipients: tuple[str, ...] = ("bob@beta.test",)) -> str:
        """Send a message the way a mail program does; its queue id."""
        context = ssl.create_default_context(cafile=str(self.certificate.certificate))
        context.check_hostname = False
        if implicit:
            program: smtplib.SMTP = smtplib.SMTP_SSL("127.0.0.1", self.implicit, timeout=20, context=context)
        else:
            program = smtplib.SMTP("127.0.0.1", self.starttls, timeout=20)
        with program:
            if not implicit:
                program.starttls(context=context)
            program.login("alice", PASSWORD)
            program.mail("alice@alpha.test")
            for recipient in recipients:
                program.rcpt(recipient)
            code, text = program.data(f"Subject: test\n\n{body}\n")
        assert code == 250, text
        return text.decode().rpartition(" ")[2]

    def events(self, name: str) -> list[dict[str, Any]]:
        """The log's events of this name; a line that is just being written comes the next time."""
        lines = (self.directory / "log").read_text().rpartition("\n")[0].splitlines()
        return [event for line in lines if line.startswith("{") and (event := json.loads(line))["event"] == name]


@pytest.fixture
def sink() -> Iterator[Sink]:
    # smtp-sink gives up root, and pytest shuts its own directories to all others at the start of every session.
    with tempfile.TemporaryDirectory(prefix="postroad-sink-") as name:
        directory = Path(name)
        directory.chmod(0o777)
        sink = Sink(directory)
        yield sink
        sink.stop()


@pytest.fixture
def agent(tmp_path: Path, sink: Sink) -> Iterator[Agent]:
    directory = tmp_path / "agent"
    directory.mkdir()
    agent = Agent(directory, make_certificate(directory, "relay.test"), sink)
    agent.configure()
    yield agent
    if not agent.ended():
        agent.kill_all()


@pytest.fixture(scope="module")
def lasting_agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    """One that runs for all tests of a file which only talk to it; nothing listens at its next hop."""
    directory = tmp_path_factory.mktemp("agent")
    agent = Agent(directory, make_certificate(directory, "relay.test"), Sink(directory))
    agent.configure()
    try:
        agent.start()
        yield agent
    finally:
        if not agent.ended():
            agent.kill_all()
