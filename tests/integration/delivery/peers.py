# SPDX-License-Identifier: GPL-3.0-or-later
"""The other side, real programs on loopback: Postfix's smtp-sink, a Postfix smarthost, the name server nsd.

They come with scripts/test-packages.sh. Each listens on an address of its own in 127.0.0.0/8, so that one port
serves for all MX hosts.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import Message as Parsed
from pathlib import Path

from tests.integration.certificates import Certificate
from tests.integration.dumps import whole_dumps

from .postfix_instance import PostfixInstance, program

__all__ = ["NameServer", "Received", "Sink", "Smarthost", "listens", "program", "wait_for"]


def wait_for(condition: Callable[[], object], what: str, seconds: float = 30.0) -> None:
    """Wait, blocking, until the condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{what}: not within {seconds} s"
        time.sleep(0.02)


def listens(address: str, port: int) -> bool:
    """Whether something takes connections there."""
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
        return probe.connect_ex((address, port)) == 0


@dataclass(frozen=True)
class Received:
    """A message as smtp-sink dumped it: the commands' arguments, and the parsed content."""

    sender: str
    recipients: tuple[str, ...]
    content: bytes
    parsed: Parsed


@dataclass
class Sink:
    """smtp-sink at an address of its own; options are its fault switches."""

    address: str
    port: int
    directory: Path
    options: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def start(self) -> Sink:
        self.directory.mkdir(mode=0o777, exist_ok=True)
        self.directory.chmod(0o777)
        command = [program("smtp-sink"), *self.options, "-d", f"{self.directory}/m."]
        if os.geteuid() == 0:
            command += ["-u", "nobody"]
        host = f"[{self.address}]" if ":" in self.address else self.address
        self.process = subprocess.Popen([*command, f"{host}:{self.port}", "128"], stderr=subprocess.DEVNULL)
        # No probing by a connection: some switches count sessions.
        wait_for(self._bound, f"smtp-sink at {self.address}")
        return self

    def _bound(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, "smtp-sink ended at once"
        table = Path("/proc/net/tcp6" if ":" in self.address else "/proc/net/tcp").read_text()
        return any(f":{self.port:04X} " in line and " 0A " in line and self._ours(line) for line in table.splitlines())

    def _ours(self, line: str) -> bool:
        return ":" in self.address or socket.inet_aton(self.address)[::-1].hex().upper() in line.split()[1]

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def received(self) -> list[Received]:
        """What has come in whole so far, oldest first."""
        files = sorted(whole_dumps(self.directory, self.process), key=lambda path: path.stat().st_mtime_ns)
        return [_dumped(path.read_bytes()) for path in files]


def _dumped(content: bytes) -> Received:
    """The fields that smtp-sink puts on top, and below its own Received field the message itself."""
    lines = content.split(b"\n")
    sender, recipients = "", []
    for number, line in enumerate(lines):
        if line.startswith(b"X-Mail-Args: "):
            sender = line[13:].decode()
        elif line.startswith(b"X-Rcpt-Args: "):
            recipients.append(line[13:].decode())
        elif line.startswith(b"Received: "):
            rest = number + 1
            while lines[rest].startswith((b" ", b"\t")):
                rest += 1
            message = b"\n".join(lines[rest:]).removesuffix(b"\n")  # it ends each dump with an empty line
            return Received(sender, tuple(recipients), message, message_from_bytes(message))
    raise AssertionError(f"not a dump of smtp-sink: {content[:200]!r}")


@dataclass
class NameServer:
    """nsd with one zone, `test.`; its text is given without SOA and NS. `broken.` has no data: SERVFAIL."""

    directory: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    def start(self, zone: str) -> NameServer:
        self.directory.mkdir(exist_ok=True)
        head = "$ORIGIN test.\n$TTL 5\n@ SOA ns hostmaster 1 60 60 60 5\n@ NS ns\nns A 127.0.0.1\n"
        (self.directory / "test.zone").write_text(head + zone)
        config = self.directory / "nsd.conf"
        config.write_text(
            f"""server:
    ip-address: 127.0.0.1@{self.port}
    username: ""
    chroot: ""
    zonesdir: "{self.directory}"
    pidfile: "{self.directory}/pid"
    database: ""
    xfrdfile: "{self.directory}/xfrd"
    xfrdir: "{self.directory}"
    zonelistfile: "{self.directory}/zones"
    server-count: 1
remote-control:
    control-enable: no
zone:
    name: test.
    zonefile: test.zone
zone:
    name: broken.
    zonefile: missing.zone
"""
        )
        with (self.directory / "log").open("wb") as log:
            self.process = subprocess.Popen([program("nsd"), "-d", "-c", str(config)], stderr=log, stdout=log)
        wait_for(lambda: listens("127.0.0.1", self.port), "nsd")
        return self

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait()
            self.process = None


@dataclass
class Smarthost(PostfixInstance):
    """A Postfix that relays for who signs in over TLS; what it takes goes on to `relayhost`."""

    address: str
    starttls_port: int
    implicit_port: int
    certificate: Certificate
    relayhost: str
    username: str = "relay@smart.test"
    password: str = "correct horse"
    extra: str = ""
    mechanisms: str = "PLAIN LOGIN"

    def start(self) -> Smarthost:
        (self.directory / "sasl").mkdir(parents=True, exist_ok=True)
        self._accounts()
        settings = f"""myhostname = smart.test
smtp_host_lookup = native
relayhost = {self.relayhost}
smtpd_tls_cert_file = {self.certificate.certificate}
smtpd_tls_key_file = {self.certificate.key}
smtpd_tls_security_level = encrypt
smtpd_tls_auth_only = yes
smtpd_sasl_auth_enable = yes
smtpd_sasl_path = smtpd
cyrus_sasl_config_path = {self.directory}/sasl
smtpd_relay_restrictions = permit_sasl_authenticated, reject
smtpd_recipient_restrictions = permit_sasl_authenticated, reject
{self.extra}
"""
        listeners = [
            f"{self.address}:{self.starttls_port} inet n - n - - smtpd",
            f"{self.address}:{self.implicit_port} inet n - n - - smtpd -o smtpd_tls_wrappermode=yes",
        ]
        self.launch(settings, listeners)
        wait_for(lambda: listens(self.address, self.starttls_port), "the smarthost")
        return self

    def _accounts(self) -> None:
        database = self.directory / "sasl" / "users"
        name, _, realm = self.username.partition("@")
        subprocess.run(
            [program("saslpasswd2"), "-p", "-c", "-f", str(database), "-u", realm, name],
            input=self.password.encode(),
            check=True,
            capture_output=True,
        )
        shutil.chown(database, "postfix")
        (self.directory / "sasl" / "smtpd.conf").write_text(
            f"pwcheck_method: auxprop\nauxprop_plugin: sasldb\nsasldb_path: {database}\nmech_list: {self.mechanisms}\n"
        )
