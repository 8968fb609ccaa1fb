# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything that TLS outwards meets: signed zones behind a validating resolver, MX hosts, a host for policies."""

from __future__ import annotations

import hashlib
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from tests.integration.authority import make_authority
from tests.integration.certificates import make_certificate
from tests.ports import free_port

from .exchangers import MailExchangers
from .signed_dns import ValidatingDns
from .web_host import WebHost

__all__ = ["SELF_SIGNED", "CHAINED", "EXPIRED", "MUTE", "NEXT_RELAY", "REPORTS", "STRANGER", "TlsWorld"]

SELF_SIGNED = "127.0.3.1"  # a certificate of its own, which has ended
CHAINED = "127.0.3.2"  # from the authority, for mx.ta.signed.test, mx.sts.open.test and ta-next.signed.test
MUTE = "127.0.3.3"  # without STARTTLS
NEXT_RELAY = "127.0.3.4"  # for a relay of our own
STRANGER = "127.0.3.5"  # from an authority that nobody knows, for mx.strange.open.test
EXPIRED = "127.0.3.6"  # from the authority, and ended
REPORTS = "127.0.3.7"  # for smtp-sink: the MX host of reports.open.test
WEB = "127.0.3.10"
WEB_DOWN = "127.0.3.11"

_POLICIES = {  # domain: mode, mx, address of the MX host
    "sts.open.test": ("enforce", "mx.sts.open.test", CHAINED),
    "strange.open.test": ("enforce", "mx.strange.open.test", STRANGER),
    "mute.open.test": ("enforce", "mx.mute.open.test", MUTE),
    "late.open.test": ("enforce", "mx.late.open.test", EXPIRED),
    "trial.open.test": ("testing", "mx.trial.open.test", STRANGER),
    "trialmute.open.test": ("testing", "mx.trialmute.open.test", MUTE),
    "foreign.open.test": ("enforce", "*.elsewhere.test", CHAINED),
    "trialforeign.open.test": ("testing", "*.elsewhere.test", CHAINED),
    "off.open.test": ("none", "mx.off.open.test", STRANGER),
    "tls.open.test": ("enforce", "mx.tls.open.test", NEXT_RELAY),
    "both.signed.test": ("enforce", "mx.both.signed.test", SELF_SIGNED),
}


class TlsWorld:
    """All of it, started. `directory` can be entered by servers under other users."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(mode=0o755)
        self.directory = directory
        self.smtp_port, self.web_port = free_port(), free_port()
        self.authority = make_authority(directory)
        strangers = make_authority(directory, "Strange Authority")
        self_signed = make_certificate(directory, "mx.ee.signed.test", days=-1)
        chained = self.authority.issue("mx.ta.signed.test", "mx.sts.open.test", "ta-next.signed.test")
        stranger = strangers.issue("mx.strange.open.test", "mx.trial.open.test")
        late = self.authority.issue("mx.late.open.test", "mx.ta-late.signed.test", days=-1)
        self.next_relay = self.authority.issue("mx.tls.signed.test", "mx.tls.open.test", "mx.vouched.open.test")
        hosts = (f"mta-sts.{domain}" for domain in (*_POLICIES, "broken.open.test", "moved.open.test"))
        web = self.authority.issue("*.open.test", *hosts, file="web")
        self.exchangers = MailExchangers(
            directory / "postfix",
            self.smtp_port,
            {SELF_SIGNED: self_signed, CHAINED: chained, MUTE: None, STRANGER: stranger, EXPIRED: late},
        )
        self.web = WebHost(WEB, self.web_port, web.certificate, web.key, directory / "web")
        self.dns = ValidatingDns(directory / "dns")
        self._key = _key_digest(self_signed.certificate)
        self._whole = _digest(self_signed.certificate, hashlib.sha512)
        self._anchor = hashlib.sha256(self.authority.der).hexdigest()
        self._next = _key_digest(self.next_relay.certificate)

    def start(self) -> TlsWorld:
        for domain, (mode, mx, _) in _POLICIES.items():
            self.web.directory.mkdir(exist_ok=True)
            self.web.publish(domain, f"version: STSv1\r\nmode: {mode}\r\nmx: {mx}\r\nmax_age: 86400\r\n")
        self.web.publish("broken.open.test", "version: STSv2\n")
        self.web.publish("webcert.open.test", "version: STSv1\nmode: enforce\nmx: *.elsewhere.test\nmax_age: 86400\n")
        self.web.redirect("moved.open.test", "https://mta-sts.foreign.open.test/.well-known/mta-sts.txt")
        self.dns.start(
            self._signed(), self._unsigned(), self._bogus(), f"_{self.smtp_port}._tcp.mx.tampered.signed.test"
        )
        self.exchangers.start()
        self.web.start()
        return self

    def stop(self) -> None:
        self.web.stop()
        self.exchangers.stop()
        self.dns.stop()

    @property
    def delivery(self) -> dict[str, object]:
        """What the configuration's [delivery] has to say to live in this world."""
        return {
            "resolvers": [f"127.0.0.1:{self.dns.port}"],
            "smtp_port": self.smtp_port,
            "mta_sts_port": self.web_port,
            "ca_file": str(self.authority.file),
            "retry_first": 30,
        }

    def _signed(self) -> str:
        hosts = {
            "ee": (SELF_SIGNED, f"3 1 1 {self._key}"),
            "whole": (SELF_SIGNED, f"3 0 2 {self._whole}"),
            "wrong": (SELF_SIGNED, f"3 1 1 {'ab' * 32}"),
            "ta": (CHAINED, f"2 0 1 {self._anchor}"),
            "ta-name": (CHAINED, f"2 0 1 {self._anchor}"),
            "ta-next": (CHAINED, f"2 0 1 {self._anchor}"),
            "ta-late": (EXPIRED, f"2 0 1 {self._anchor}"),
            "unusable": (SELF_SIGNED, f"1 0 1 {self._anchor}"),
            "unusable-mute": (MUTE, f"1 0 1 {self._anchor}"),
            "stripped": (MUTE, f"3 1 1 {self._key}"),
            "tampered": (SELF_SIGNED, f"3 1 1 {self._key}"),
            "tls": (NEXT_RELAY, f"3 1 1 {self._next}"),
            "both": (SELF_SIGNED, f"3 1 1 {self._key}"),
            "without": (SELF_SIGNED, ""),
        }
        rua = "v=TLSRPTv1; rua=mailto:tls@reports.open.test"
        text = "".join(f'_smtp._tls.{name} TXT "{rua}"\n' for name in ("ee", "wrong", "tampered"))
        text += "half MX 10 mx.half\nmx.half CNAME mx.insecure.open.test.\n"
        text += f"_{self.smtp_port}._tcp.mx.half TLSA 3 1 1 {'cd' * 32}\n"
        text += "pair MX 10 mx.wrong\npair MX 20 mx.without\n"
        text += 'alias MX 10 mx.alias\nmx.alias CNAME mx.ee\n_mta-sts.both TXT "v=STSv1; id=1;"\n'
        text += f"mta-sts.both A {WEB}\n"
        return text + "".join(self._host(name, *each) for name, each in hosts.items())

    def _unsigned(self) -> str:
        text = self._host("insecure", SELF_SIGNED, f"3 1 1 {'ab' * 32}")
        text += self._host("loose", STRANGER, "") + self._host("clear", MUTE, "") + self._host("reports", REPORTS, "")
        text += f"rua A {WEB}\n" + self._host("vouched", NEXT_RELAY, "")
        for domain, (_, _, address) in _POLICIES.items():
            if domain.endswith(".open.test"):
                name = domain.removesuffix(".open.test")
                text += self._host(name, address, "") + self._sts(name, WEB)
        for name in ("broken", "moved", "webcert"):
            text += self._host(name, STRANGER, "") + self._sts(name, WEB)
        text += self._host("webdown", STRANGER, "") + self._sts("webdown", WEB_DOWN)
        return text

    def _bogus(self) -> str:
        return self._host("ee", SELF_SIGNED, f"3 1 1 {self._key}")

    @staticmethod
    def _sts(name: str, web: str) -> str:
        return (
            f'_mta-sts.{name} TXT "v=STSv1; id=20261124;"\nmta-sts.{name} A {web}\n'
            f'_smtp._tls.{name} TXT "v=TLSRPTv1; rua=mailto:tls@reports.open.test,https://rua.open.test/tls?x=1"\n'
        )

    def _host(self, name: str, address: str, tlsa: str) -> str:
        text = f"{name} MX 10 mx.{name}\nmx.{name} A {address}\n"
        return text + (f"_{self.smtp_port}._tcp.mx.{name} TLSA {tlsa}\n" if tlsa else "")


def _first(file: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificates(file.read_bytes())[0]


def _key_digest(file: Path) -> str:
    key = _first(file).public_key()
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(der).hexdigest()


def _digest(file: Path, kind: object) -> str:
    assert callable(kind)
    return str(kind(_first(file).public_bytes(serialization.Encoding.DER)).hexdigest())
