# SPDX-License-Identifier: GPL-3.0-or-later
"""A Postfix that is the MX at several addresses, with a certificate of its own at each."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from tests.integration.certificates import Certificate

from .peers import listens, wait_for
from .postfix_instance import PostfixInstance

__all__ = ["MailExchangers"]


@dataclass
class MailExchangers(PostfixInstance):
    """certificates: by address; None: no STARTTLS there. What is taken is thrown away, and stands in the log."""

    port: int
    certificates: Mapping[str, Certificate | None]

    def start(self) -> MailExchangers:
        settings = """myhostname = mx.test
default_transport = discard
relay_transport = discard
smtpd_relay_restrictions = permit_mynetworks, reject
mynetworks = 127.0.0.0/8
smtpd_peername_lookup = no
smtpd_client_connection_count_limit = 0
smtpd_tls_loglevel = 1
"""
        services = []
        for address, certificate in self.certificates.items():
            options = "-o smtpd_tls_security_level=none"
            if certificate is not None:
                files = f"-o smtpd_tls_cert_file={certificate.certificate} -o smtpd_tls_key_file={certificate.key}"
                options = f"-o smtpd_tls_security_level=may {files}"
            name = f"postfix-{address}"
            services.append(f"{address}:{self.port} inet n - n - - smtpd -o syslog_name={name} {options}")
        self.launch(settings, services)
        for address in self.certificates:
            wait_for(lambda address=address: listens(address, self.port), f"Postfix at {address}")  # type: ignore[misc]
        return self

    def sessions(self, address: str) -> list[dict[str, int]]:
        """Each session that has ended at an address: how often each command was taken, by its name."""
        lines = re.findall(rf"postfix-{re.escape(address)}/smtpd\[\d+\]: disconnect from \S+ (.*)", self.log())
        counts = [re.findall(r"(\w+)=(\d+)", line) for line in lines]
        return [{name: int(count) for name, count in each} for each in counts if each]

    def took(self, recipient: str) -> bool:
        """Whether mail to this recipient has come in."""
        return f"to=<{recipient}>" in self.log()
