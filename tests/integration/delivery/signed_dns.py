# SPDX-License-Identifier: GPL-3.0-or-later
"""Signed zones (ldns) on nsd behind unbound, which validates them: all real programs, on loopback."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from tests.ports import free_port

from .peers import listens, program, wait_for

__all__ = ["ValidatingDns"]

_HEAD = "$TTL 2\n@ SOA ns hostmaster 1 60 60 604800 2\n@ NS ns\nns A 127.0.0.1\n"


@dataclass
class ValidatingDns:
    """Three zones. `signed.test` validates; `open.test` is not signed; `bogus.test` is signed with a key that the
    resolver does not trust. `port` is the resolver's. Texts of zones are without SOA and NS."""

    directory: Path
    port: int = 0
    _authority: int = 0
    _processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, signed: str, unsigned: str, bogus: str, tampered: str) -> ValidatingDns:
        """tampered: the owner of a record of `signed` that is changed once it is signed."""
        self.directory.mkdir(exist_ok=True)
        self.directory.chmod(0o755)
        self.port, self._authority = free_port(), free_port()
        anchor = self._sign("signed.test", signed)
        wrong = self._key("bogus.test")
        self._sign("bogus.test", bogus)
        (self.directory / "open.test.zone").write_text(f"$ORIGIN open.test.\n{_HEAD}{unsigned}")
        self._tamper(self.directory / "signed.test.zone", tampered)
        self._serve()
        self._resolve(anchor, wrong)
        return self

    def _key(self, zone: str) -> Path:
        """A new key; the file with its public part."""
        done = subprocess.run(
            [program("ldns-keygen"), "-a", "ECDSAP256SHA256", "-k", "-r", "/dev/urandom", zone],
            cwd=self.directory,
            capture_output=True,
            text=True,
            check=True,
        )
        return self.directory / f"{done.stdout.strip()}.key"

    def _sign(self, zone: str, text: str) -> Path:
        plain = self.directory / f"{zone}.plain"
        plain.write_text(f"$ORIGIN {zone}.\n{_HEAD}{text}")
        key = self._key(zone)
        subprocess.run(
            [program("ldns-signzone"), "-f", f"{zone}.zone", "-o", zone, plain.name, key.stem],
            cwd=self.directory,
            capture_output=True,
            check=True,
        )
        return key

    @staticmethod
    def _tamper(zone: Path, owner: str) -> None:
        """Change the last digit of the owner's TLSA record: its signature is then wrong."""
        text = zone.read_text()
        changed, count = re.subn(
            rf"(?m)^({re.escape(owner)}\.\s+\d+\s+IN\s+TLSA\s+.*)([0-9a-f])$",
            lambda found: found[1] + ("0" if found[2] != "0" else "1"),
            text,
        )
        assert count == 1, f"{owner} has no TLSA record in {zone}"
        zone.write_text(changed)

    def _serve(self) -> None:
        zones = "".join(
            f"zone:\n    name: {zone}\n    zonefile: {zone}.zone\n"
            for zone in ("signed.test", "open.test", "bogus.test")
        )
        (self.directory / "nsd.conf").write_text(
            f"""server:
    ip-address: 127.0.0.1@{self._authority}
    username: ""
    chroot: ""
    zonesdir: "{self.directory}"
    pidfile: "{self.directory}/nsd.pid"
    database: ""
    xfrdfile: "{self.directory}/xfrd"
    xfrdir: "{self.directory}"
    zonelistfile: "{self.directory}/zones"
    server-count: 1
remote-control:
    control-enable: no
{zones}"""
        )
        self._run("nsd", "-d", "-c", "nsd.conf", port=self._authority)

    def _resolve(self, anchor: Path, wrong: Path) -> None:
        stubs = "".join(
            f'stub-zone:\n    name: "{zone}."\n    stub-addr: 127.0.0.1@{self._authority}\n'
            for zone in ("signed.test", "open.test", "bogus.test")
        )
        (self.directory / "unbound.conf").write_text(
            f"""server:
    interface: 127.0.0.1@{self.port}
    username: ""
    chroot: ""
    directory: "{self.directory}"
    pidfile: "{self.directory}/unbound.pid"
    use-syslog: no
    logfile: ""
    num-threads: 1
    do-ip6: no
    do-not-query-localhost: no
    local-zone: "test." nodefault
    trust-anchor-file: "{anchor}"
    trust-anchor-file: "{wrong}"
    val-log-level: 2
remote-control:
    control-enable: no
{stubs}"""
        )
        self._run("unbound", "-d", "-c", "unbound.conf", port=self.port)

    def _run(self, name: str, *options: str, port: int) -> None:
        with (self.directory / f"{name}.log").open("wb") as log:
            process = subprocess.Popen([program(name), *options], cwd=self.directory, stderr=log, stdout=log)
        self._processes.append(process)
        wait_for(lambda: process.poll() is not None or listens("127.0.0.1", port), name)
        assert process.poll() is None, (self.directory / f"{name}.log").read_text()

    def stop(self) -> None:
        for process in self._processes:
            process.terminate()
            process.wait()
