# SPDX-License-Identifier: GPL-3.0-or-later
"""A Postfix that is the MX at several addresses, with a certificate of its own at each."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.integration.certificates import Certificate

from .peers import listens, program, wait_for

__all__ = ["MailExchangers"]


@dataclass
class MailExchangers:
    """certificates: by address; None: no STARTTLS there. What is taken is thrown away, and stands in the log."""

    directory: Path
    port: int
    certificates: Mapping[str, Certificate | None]

    def start(self) -> MailExchangers:
        assert os.geteuid() == 0, "Postfix's master runs as root only: run the integration tests as root"
        for part in ("", "queue", "queue/pid"):
            (self.directory / part).mkdir(exist_ok=True)
            (self.directory / part).chmod(0o755)
        data = self.directory / "data"
        data.mkdir()
        shutil.chown(data, "postfix")
        (self.directory / "main.cf").write_text(
            f"""compatibility_level = 3.6
queue_directory = {self.directory}/queue
data_directory = {data}
command_directory = {Path(program("postconf")).parent}
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
myhostname = mx.test
mydestination =
local_recipient_maps =
alias_maps =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
default_transport = discard
relay_transport = discard
maillog_file = {self.directory}/log
maillog_file_prefixes = {self.directory}
smtpd_relay_restrictions = permit_mynetworks, reject
mynetworks = 127.0.0.0/8
smtpd_peername_lookup = no
smtpd_client_connection_count_limit = 0
smtpd_tls_loglevel = 1
"""
        )
        services = []
        for address, certificate in self.certificates.items():
            options = "-o smtpd_tls_security_level=none"
            if certificate is not None:
                files = f"-o smtpd_tls_cert_file={certificate.certificate} -o smtpd_tls_key_file={certificate.key}"
                options = f"-o smtpd_tls_security_level=may {files}"
            name = f"postfix-{address}"
            services.append(f"{address}:{self.port} inet n - n - - smtpd -o syslog_name={name} {options}")
        services += [
            "postlog unix-dgram n - n - 1 postlogd",
            "cleanup unix n - n - 0 cleanup",
            "qmgr unix n - n 300 1 qmgr",
            "tlsmgr unix - - n 1000? 1 tlsmgr",
            "rewrite unix - - n - - trivial-rewrite",
            *(f"{name} unix - - n - 0 bounce" for name in ("bounce", "defer", "trace")),
            "flush unix n - n 1000? 0 flush",
            *(f"{name} unix - - n - - {name}" for name in ("discard", "error")),
            "anvil unix - - n - 1 anvil",
        ]
        (self.directory / "master.cf").write_text("\n".join(services) + "\n")
        done = subprocess.run(
            [program("postfix"), "-c", str(self.directory), "start"], capture_output=True, text=True, timeout=30
        )
        assert done.returncode == 0, f"postfix did not start: {done.stdout}{done.stderr}{self.log()}"
        for address in self.certificates:
            wait_for(lambda address=address: listens(address, self.port), f"Postfix at {address}")  # type: ignore[misc]
        return self

    def log(self) -> str:
        log = self.directory / "log"
        return log.read_text() if log.exists() else ""

    def sessions(self, address: str) -> list[dict[str, int]]:
        """Each session that has ended at an address: how often each command was taken, by its name."""
        lines = re.findall(rf"postfix-{re.escape(address)}/smtpd\[\d+\]: disconnect from \S+ (.*)", self.log())
        counts = [re.findall(r"(\w+)=(\d+)", line) for line in lines]
        return [{name: int(count) for name, count in each} for each in counts if each]

    def took(self, recipient: str) -> bool:
        """Whether mail to this recipient has come in."""
        return f"to=<{recipient}>" in self.log()

    def stop(self) -> None:
        subprocess.run(
            [program("postfix"), "-c", str(self.directory), "stop"], capture_output=True, check=False, timeout=30
        )
