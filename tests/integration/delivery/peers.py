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

__all__ = ["NameServer", "Received", "Sink", "Smarthost", "free_port", "listens", "program", "wait_for"]


def program(name: str) -> str:
    """Path of a program of the test packages; the test fails, with what to run, when it is missing."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    assert found is not None, f"{name} is missing: run scripts/test-packages.sh"
    return found


def free_port() -> int:
    """A TCP and UDP port that nothing uses."""
    with socket.socket() as tcp:
        tcp.bind(("127.0.0.1", 0))
        return int(tcp.getsockname()[1])


def wait_for(condition: Callable[[], object], what: str, seconds: float = 10.0) -> None:
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
        files = sorted(self.directory.glob("m.*"), key=lambda path: path.stat().st_mtime_ns)
        return [_dumped(path.read_bytes()) for path in files if path.stat().st_size]


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


def _each_once(settings: str) -> str:
    """The last value of each setting. Postfix warns of the others in every process; many warnings before its log is
    open fill the socket that leads there, and master waits for itself."""
    lines = (line for line in settings.splitlines() if line.strip())
    return "".join(f"{line}\n" for line in {line.partition("=")[0].strip(): line for line in lines}.values())


@dataclass
class Smarthost:
    """A Postfix that relays for who signs in over TLS; what it takes goes on to `relayhost`."""

    directory: Path
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
        assert os.geteuid() == 0, "Postfix's master runs as root only: run the integration tests as root"
        for part in ("", "queue", "queue/pid", "sasl"):
            (self.directory / part).mkdir(exist_ok=True)
            (self.directory / part).chmod(0o755)
        data = self.directory / "data"
        data.mkdir()
        shutil.chown(data, "postfix")
        self._accounts()
        services = Path(program("postconf")).parent
        (self.directory / "main.cf").write_text(
            _each_once(f"""compatibility_level = 3.6
queue_directory = {self.directory}/queue
data_directory = {data}
command_directory = {services}
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
myhostname = smart.test
mydestination =
local_recipient_maps =
alias_maps =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
smtp_host_lookup = native
relayhost = {self.relayhost}
maillog_file = {self.directory}/log
maillog_file_prefixes = {self.directory}
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
""")
        )
        master = [
            f"{self.address}:{self.starttls_port} inet n - n - - smtpd",
            f"{self.address}:{self.implicit_port} inet n - n - - smtpd -o smtpd_tls_wrappermode=yes",
            "postlog unix-dgram n - n - 1 postlogd",
            "cleanup unix n - n - 0 cleanup",
            "qmgr unix n - n 300 1 qmgr",
            "tlsmgr unix - - n 1000? 1 tlsmgr",
            "rewrite unix - - n - - trivial-rewrite",
            *(f"{name} unix - - n - 0 bounce" for name in ("bounce", "defer", "trace")),
            "flush unix n - n 1000? 0 flush",
            *(f"{name} unix - - n - - {name}" for name in ("smtp", "error")),
            *(f"{name} unix - - n - 1 {name}" for name in ("anvil", "scache")),
        ]
        (self.directory / "master.cf").write_text("\n".join(master) + "\n")
        done = subprocess.run(
            [program("postfix"), "-c", str(self.directory), "start"], capture_output=True, text=True, timeout=30
        )
        assert done.returncode == 0, f"postfix did not start: {done.stdout}{done.stderr}{self.log()}"
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

    def log(self) -> str:
        """Postfix's own log."""
        log = self.directory / "log"
        return log.read_text() if log.exists() else ""

    def stop(self) -> None:
        subprocess.run(
            [program("postfix"), "-c", str(self.directory), "stop"], capture_output=True, check=False, timeout=30
        )
