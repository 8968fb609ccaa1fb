# SPDX-License-Identifier: GPL-3.0-or-later
"""Mail programs: what they are given, that no password is seen, and a real submission over TLS."""

import asyncio
import datetime
import socket
import ssl
import stat
from collections.abc import AsyncIterator
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from ansible_collections.postroad.relay.plugins.module_utils.mail_programs import (
    PROGRAMS,
    Invocation,
    Probe,
    ProbeFailedError,
    message_text,
    server_reply,
    submit,
)
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

PASSWORD = 'p"a ss:w%r\\d'
DATE = "Mon, 23 Nov 2026 13:00:00 -0000"
PROBE = Probe(
    host="relay.example.org",
    port=587,
    tls="starttls",
    message_id="<1@alpha.test>",
    sender="a@alpha.test",
    recipient="b@beta.test",
    account="alice",
    password=PASSWORD,
    ca_file="/ca.pem",
)


def invocation(program: str, probe: Probe, directory: Path) -> Invocation:
    build = PROGRAMS[program]
    assert build is not None
    return build(probe, directory, message_text(probe, DATE))


@pytest.mark.parametrize("program", [name for name, build in PROGRAMS.items() if build])
class TestEveryProgram:
    def test_password_is_on_no_command_line_and_readable_by_nobody_else(self, program: str, tmp_path: Path) -> None:
        made = invocation(program, PROBE, tmp_path)
        assert not any("ss:w" in word or "ss%3Aw" in word for word in made.command)
        assert not any("ss:w" in value for value in made.environment.values())
        assert all(stat.S_IMODE(file.stat().st_mode) == 0o600 for file in tmp_path.iterdir())

    def test_certificate_is_verified_against_the_given_authority(self, program: str, tmp_path: Path) -> None:
        made = invocation(program, PROBE, tmp_path)
        given = made.stdin.decode() + "".join(file.read_text() for file in tmp_path.iterdir())
        assert "/ca.pem" in given

    def test_without_account_there_is_no_sign_in(self, program: str, tmp_path: Path) -> None:
        made = invocation(program, replace(PROBE, account="", password="", tls="none"), tmp_path)
        given = made.stdin.decode() + "".join(file.read_text() for file in tmp_path.iterdir())
        assert "alice" not in given
        assert "/ca.pem" not in given

    def test_program_that_is_not_there_is_named(
        self, program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(ProbeFailedError, match=f"{program} is not installed here"):
            submit(program, PROBE, tmp_path, DATE)


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
def test_a_name_without_an_address_is_named(tls: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(ProbeFailedError, match=r"no address for relay\.example\.org: Name or service not known"):
        submit("smtplib", replace(PROBE, tls=tls, ca_file=""), tmp_path, DATE)


def test_s_nail_writes_the_date_itself(tmp_path: Path) -> None:
    template = invocation("s-nail", PROBE, tmp_path).stdin.decode()
    assert "Date:" not in template
    assert "Message-ID: <1@alpha.test>" in template
    assert "\n\nThis message was submitted" in template


@pytest.mark.parametrize("field", ["host", "password", "account", "sender", "recipient", "message_id", "ca_file"])
def test_line_ends_are_refused_everywhere(field: str) -> None:
    with pytest.raises(ValueError, match=f"{field} has a line end"):
        Probe(**{**PROBE.__dict__, field: "x\r\nRCPT TO:<c@d>"})


def test_unknown_tls_mode_and_program_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'ssl' is none of"):
        replace(PROBE, tls="ssl")
    with pytest.raises(ValueError, match="'mailx' is none of"):
        submit("mailx", PROBE, tmp_path, DATE)


@pytest.mark.parametrize(
    ("transcript", "accepted", "refused"),
    [
        (" -> MAIL FROM:<a>\n<~  250 2.0.0 Queued as 7\n ~> QUIT\n<~  221 Bye", "250 2.0.0 Queued as 7", ""),
        ("<-- 250 2.0.0 Queued as 7\n--> QUIT\n<-- 221 Bye", "250 2.0.0 Queued as 7", ""),
        ("< 250 2.1.5 Ok\n< 550 5.1.1 No such user\r\n> QUIT", "250 2.1.5 Ok", "550 5.1.1 No such user"),
        ("s-nail: >>> SERVER: 535 5.7.8 Wrong\ns-nail: ... message not sent", "", "535 5.7.8 Wrong"),
        ("--> AUTH PLAIN AGEAYg==\ns-nail: >>> 535 what we sent", "", ""),
    ],
)
def test_server_reply(transcript: str, accepted: str, refused: str) -> None:
    assert server_reply(transcript, accepted=True) == accepted
    assert server_reply(transcript, accepted=False) == refused


class Server:
    """A server with STARTTLS on one port and TLS from the first byte on another, both with sign-in."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.ports: dict[str, int] = {}

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        assert isinstance(envelope.content, bytes)
        self.seen.append(envelope.content.decode())
        return "250 2.0.0 Queued as 06A"

    def sign_in(self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: object) -> AuthResult:
        assert isinstance(data, LoginPassword)
        good = data.login == b"alice" and data.password == PASSWORD.encode()
        return AuthResult(success=good, handled=good)

    def protocol(self, **options: object) -> SMTP:
        return SMTP(self, authenticator=self.sign_in, auth_required=True, hostname="relay", **options)  # type: ignore[arg-type]


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    chain, secret = tmp_path / "chain.pem", tmp_path / "key.pem"
    chain.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return chain, secret


@pytest.fixture
async def server(certificate: tuple[Path, Path]) -> AsyncIterator[Server]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificate)
    made = Server()
    loop = asyncio.get_running_loop()
    plain = await loop.create_server(lambda: made.protocol(tls_context=context, require_starttls=True), "127.0.0.1", 0)
    direct = await loop.create_server(lambda: made.protocol(auth_require_tls=False), "127.0.0.1", 0, ssl=context)
    made.ports = {"starttls": plain.sockets[0].getsockname()[1], "implicit": direct.sockets[0].getsockname()[1]}
    yield made
    plain.close()
    direct.close()


@pytest.mark.filterwarnings("ignore:Session.login_data is deprecated", "ignore:Requiring AUTH while not requiring TLS")
@pytest.mark.parametrize("tls", ["starttls", "implicit"])
class TestSubmission:
    async def send(self, server: Server, tls: str, tmp_path: Path, **changes: str) -> tuple[str, float]:
        probe = replace(PROBE, host="127.0.0.1", port=server.ports[tls], tls=tls, timeout=5.0, **changes)
        return await asyncio.to_thread(submit, "smtplib", probe, tmp_path, DATE)

    async def test_taken(self, server: Server, certificate: tuple[Path, Path], tls: str, tmp_path: Path) -> None:
        reply, submitted = await self.send(server, tls, tmp_path, ca_file=str(certificate[0]))
        assert reply == "250 2.0.0 Queued as 06A"
        assert submitted > 0
        assert "Message-ID: <1@alpha.test>" in server.seen[0]

    async def test_wrong_password_is_told_in_the_servers_words(
        self, server: Server, certificate: tuple[Path, Path], tls: str, tmp_path: Path
    ) -> None:
        with pytest.raises(ProbeFailedError, match=r"^535 5\.7\.8"):
            await self.send(server, tls, tmp_path, ca_file=str(certificate[0]), password="wrong")
        assert server.seen == []

    async def test_unknown_authority_is_refused(self, server: Server, tls: str, tmp_path: Path) -> None:
        with pytest.raises(ProbeFailedError, match="certificate verify failed"):
            await self.send(server, tls, tmp_path, ca_file="")
        assert server.seen == []
