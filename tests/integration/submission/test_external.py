# SPDX-License-Identifier: GPL-3.0-or-later
"""AUTH EXTERNAL with real certificates: whom a certificate signs in, and whom it does not."""

from __future__ import annotations

import asyncio
import base64
import smtplib
import socket
import ssl
import subprocess
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.x509 import DNSName, RFC822Name

from relay_agent.accounts.store import Account
from relay_agent.submission import external
from relay_agent.submission.external import certified_names
from tests.integration.certificates import Authority, Certificate

from .conftest import PASSWORD, Client, Relay, Running, eventually

NAME = "alice@alpha.test"
LETTER = b"From: alice@alpha.test\r\n\r\nx\r\n"


@pytest.fixture
def people(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "people")


def asked(people: Authority) -> str:
    return f'client_ca = "{people.certificate}"'


def let_in(relay: Relay, account: Account, *names: str, disabled: bool = False) -> None:
    """Accounts with these names, and no others."""
    relay.service.verifier.reload({name: replace(account, name=name, disabled=disabled) for name in names or (NAME,)})


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode() or "="


async def hello(client: Client) -> str:
    """The mechanisms that are offered."""
    await client.send(b"EHLO laptop.test\r\n")
    return next(line[9:] for line in await client.reply() if line[4:9] == "AUTH ")


async def over_tls(relay: Relay) -> Client:
    """A client that has turned to TLS in the way of the port, with the certificate that it has."""
    if relay.tls == "implicit":
        return await relay.connect()
    client = await relay.connect()
    await client.ask("EHLO laptop.test")
    assert (await client.ask("STARTTLS"))[:3] == "220"
    await client.start_tls(relay.client_context())
    return client


@pytest.mark.parametrize("tls", ["implicit", "starttls", "auto"])
async def test_a_certificate_signs_in_on_every_kind_of_port(
    running: Running, account: Account, people: Authority, tls: str
) -> None:
    async with running(tls=tls, certificates=asked(people)) as relay:
        let_in(relay, account)
        client = await over_tls(relay)
        assert await hello(client) == "PLAIN LOGIN"
        assert (await client.ask("AUTH EXTERNAL =")).startswith("504 ")
        await client.close()
        relay.own = people.issue("Alice", [RFC822Name("Alice@Alpha.test")])
        client = await over_tls(relay)
        assert await hello(client) == "EXTERNAL PLAIN LOGIN"
        assert await client.ask("auth external =") == "235 2.7.0 Signed in"
        assert (await client.ask("MAIL FROM:<bob@alpha.test>"))[:9] == "553 5.7.1"
        assert (await client.ask(f"MAIL FROM:<{NAME}>"))[:3] == "250"
        await client.close()


async def test_the_dialogue_and_the_authorization_identity(
    running: Running, account: Account, people: Authority
) -> None:
    async with running(tls="implicit", certificates=asked(people), settings="max_auth_failures = 100") as relay:
        let_in(relay, account, NAME, "second@alpha.test", "other@alpha.test")
        relay.own = people.issue("A", [RFC822Name(NAME), RFC822Name("second@alpha.test"), RFC822Name("x@alpha.test")])
        for asking, answer, reply in (
            ("AUTH EXTERNAL", "", "235"),
            ("AUTH EXTERNAL", "*", "501 5.7.0"),
            ("AUTH EXTERNAL", b64("second@alpha.test"), "235"),
            (f"AUTH EXTERNAL {b64(NAME)}", None, "235"),
            (f"AUTH EXTERNAL {b64('other@alpha.test')}", None, "535 5.7.8"),
            (f"AUTH EXTERNAL {b64('x@alpha.test')}", None, "535 5.7.8"),
            ("AUTH EXTERNAL !", None, "501 5.5.2"),
        ):
            client = await relay.connect()
            assert "EXTERNAL" in await hello(client)
            said = await client.ask(asking)
            if answer is not None:
                assert said == "334 "
                said = await client.ask(answer)
            assert said.startswith(reply), (asking, answer)
            await client.close()
        assert [event["problem"] for event in relay.events("auth_failed")] == [
            f"the certificate is for {NAME}, second@alpha.test, x@alpha.test",
            "x@alpha.test: no such account, or it is disabled",
        ]


async def test_a_disabled_or_deleted_account_is_shut_out(running: Running, account: Account, people: Authority) -> None:
    async with running(tls="implicit", certificates=asked(people)) as relay:
        let_in(relay, account)
        relay.own = people.issue("", [RFC822Name(NAME)])
        client, other = await relay.connect(), await relay.connect()
        assert await hello(client) == await hello(other) == "EXTERNAL PLAIN LOGIN"
        assert (await other.ask("AUTH EXTERNAL ="))[:3] == "235"
        let_in(relay, account, disabled=True)
        assert (await client.ask("AUTH EXTERNAL =")) == "535 5.7.8 Your certificate is not that of an account here"
        assert "EXTERNAL" not in await hello(client)
        assert (await other.ask(f"MAIL FROM:<{NAME}>"))[:3] == "530"
        let_in(relay, account, "somebody@alpha.test")
        assert (await client.ask("AUTH EXTERNAL ="))[:3] == "535"
        assert relay.service.counters["auth_failed"] == 2
        for each in (client, other):
            await each.close()


async def test_the_account_s_limits_hold(running: Running, account: Account, people: Authority) -> None:
    settings = "[policy]\nsessions = 1"
    async with running(tls="implicit", certificates=asked(people), settings=settings) as relay:
        let_in(relay, account)
        relay.own = people.issue("", [RFC822Name(NAME)])
        first, second = await relay.connect(), await relay.connect()
        for client in (first, second):
            await hello(client)
        assert (await first.ask("AUTH EXTERNAL ="))[:3] == "235"
        assert (await second.ask("AUTH EXTERNAL ="))[:9] == "454 4.7.0"
        for client in (first, second):
            await client.close()


async def test_the_common_name_counts_only_without_alternative_names(
    running: Running, account: Account, people: Authority
) -> None:
    async with running(tls="implicit", certificates=asked(people)) as relay:
        let_in(relay, account)
        for own, offered in (
            (people.issue(NAME), "EXTERNAL PLAIN LOGIN"),
            (people.issue(NAME, [DNSName("alpha.test")]), "PLAIN LOGIN"),
            (people.issue("Alice"), "PLAIN LOGIN"),
            (people.issue(NAME, [RFC822Name("bob@alpha.test")]), "PLAIN LOGIN"),
        ):
            relay.own = own
            client = await relay.connect()
            assert await hello(client) == offered
            await client.close()


async def refused(relay: Relay, own: Certificate) -> str:
    """Try to connect with a bad certificate; what the log says of it."""
    relay.own = own
    before = len(relay.events("tls_failed"))
    # With TLS 1.3 a client learns only when it reads that its certificate was not taken.
    with suppress(OSError):
        client = await relay.connect(tls=True)
        with suppress(OSError):
            assert await asyncio.wait_for(client.reader.read(), 30) == b""
        await client.close()
    await eventually(lambda: len(relay.events("tls_failed")) > before)
    return str(relay.events("tls_failed")[-1]["error"])


async def test_a_bad_certificate_ends_the_handshake_and_the_log_says_why(
    running: Running, account: Account, people: Authority, tmp_path: Path
) -> None:
    name = [RFC822Name(NAME)]
    gone = people.issue("", name)
    lists = tmp_path / "with-list.pem"
    lists.write_text(people.certificate.read_text() + people.revocation_list(gone))
    async with running(tls="implicit", certificates=f'client_ca = "{lists}"') as relay:
        let_in(relay, account)
        for own, problem in (
            (Authority(tmp_path / "others", "others").issue("", name), "unable to get local issuer certificate"),
            (people.issue("", name, seconds=-5), "certificate has expired"),
            (people.issue("", name, client=False), "unsuitable certificate purpose"),
            (gone, "certificate revoked"),
        ):
            assert (
                await refused(relay, own) == f"the client's certificate was refused: {problem} (see tls.client_ca)"
            ), problem
        relay.own = people.issue("", name)
        client = await relay.connect()
        assert "EXTERNAL" in await hello(client)
        await client.close()
        await eventually(lambda: len(relay.service.sessions) == 0)


@pytest.mark.parametrize("tls", ["implicit", "starttls"])
async def test_a_certificate_whose_names_python_cannot_read_leaves_nothing_behind(
    running: Running, people: Authority, tls: str
) -> None:
    async with running(tls=tls, certificates=asked(people)) as relay:
        relay.own = people.issue("x", encoded_names=b"\x30\x06\x81\x04\xff\xfe@a")
        with suppress(OSError):
            client = await (relay.connect(tls=True) if tls == "implicit" else over_tls(relay))
            await client.close()
        await eventually(lambda: len(relay.service.sessions) == 0)
        (event,) = relay.events("tls_failed")
        assert event["error"] == "the client's certificate was refused: its names cannot be read"
        assert relay.events("command_failed") == []


@pytest.mark.parametrize("tls", ["starttls", "auto"])
async def test_so_it_does_behind_starttls_and_on_an_automatic_port(
    running: Running, people: Authority, tmp_path: Path, tls: str
) -> None:
    async with running(tls=tls, certificates=asked(people)) as relay:
        relay.own = Authority(tmp_path / "others", "others").issue("", [RFC822Name(NAME)])
        with suppress(OSError):
            if tls == "auto":
                client = await relay.connect(tls=True)
            else:
                client = await over_tls(relay)
            with suppress(OSError):
                await asyncio.wait_for(client.reader.read(), 30)
            await client.close()
        await eventually(lambda: len(relay.service.sessions) == 0)
        (event,) = relay.events("tls_failed")
        assert event["error"].startswith("the client's certificate was refused: unable to get local issuer")


async def test_without_an_authority_nobody_is_asked(running: Running, account: Account, people: Authority) -> None:
    async with running(tls="implicit") as relay:
        let_in(relay, account)
        relay.own = people.issue("", [RFC822Name(NAME)])
        client = await relay.connect()
        assert await hello(client) == "PLAIN LOGIN"
        await client.close()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_resumed_session_is_as_certified_as_its_first(
    running: Running,
    account: Account,
    people: Authority,
    version: ssl.TLSVersion,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The certificate comes back with the session, in its ticket, and what became of it since counts."""
    async with running(tls="implicit", certificates=asked(people)) as relay:

        def connect(context: ssl.SSLContext, session: ssl.SSLSession | None) -> tuple[bool, str, ssl.SSLSession]:
            plain = socket.create_connection(("127.0.0.1", relay.port), 10)
            with context.wrap_socket(plain, server_hostname="relay.test", session=session) as tls:
                assert tls.recv(100).startswith(b"220 ")
                tls.sendall(b"EHLO laptop.test\r\n")
                offered = next(line for line in tls.recv(2000).decode().splitlines() if "AUTH " in line)
                tls.sendall(b"AUTH EXTERNAL =\r\n")
                code = tls.recv(200).decode()[:3]
                resumed, ticket = bool(tls.session_reused), tls.session
                assert ticket is not None
                assert ("EXTERNAL" in offered) == (code == "235")
                return resumed, code, ticket

        async def tried(context: ssl.SSLContext, session: ssl.SSLSession | None) -> tuple[bool, str, ssl.SSLSession]:
            return await asyncio.to_thread(connect, context, session)

        let_in(relay, account)
        bare = relay.client_context()
        relay.own = people.issue("", [RFC822Name(NAME)])
        certified = relay.client_context()
        for context in (bare, certified):
            context.maximum_version = version
        # Who had no certificate has none in the resumed session, either.
        assert (without := await tried(bare, None))[:2] == (False, "504")
        assert (await tried(bare, without[2]))[:2] == (True, "504")
        assert (first := await tried(certified, None))[:2] == (False, "235")
        assert (second := await tried(certified, first[2]))[:2] == (True, "235")
        let_in(relay, account, "somebody@alpha.test")
        assert (await tried(certified, second[2]))[:2] == (True, "535")
        let_in(relay, account)
        # Two days later it has ended, and no handshake looks at it again.
        monkeypatch.setattr(external, "certified_names", lambda found, now: certified_names(found, now + 2 * 86_400))
        assert (await tried(certified, second[2]))[:2] == (True, "535")


async def test_real_programs(running: Running, account: Account, people: Authority, tmp_path: Path) -> None:
    own = people.issue("Alice", [RFC822Name(NAME)])
    letter = tmp_path / "letter"
    letter.write_bytes(LETTER)
    settings = tmp_path / "msmtprc"
    async with running(tls="auto", certificates=asked(people)) as relay:
        let_in(relay, account)
        relay.own = own
        context = relay.client_context()
        context.check_hostname = False

        def by_smtplib() -> None:
            with smtplib.SMTP_SSL("127.0.0.1", relay.port, timeout=20, context=context) as program:
                program.ehlo()
                program.auth("EXTERNAL", lambda challenge=None: "")
                program.sendmail(NAME, ["bob@beta.test"], LETTER)

        def by_program(*command: str, given: bytes | None = None) -> None:
            done = subprocess.run(command, input=given, capture_output=True, timeout=30, check=False)
            assert done.returncode == 0, (done.stdout + done.stderr).decode()

        # Without a user msmtp takes the empty challenge for its success (1.8).
        settings.write_text(
            f"defaults\nhost 127.0.0.1\nport {relay.port}\ntls on\ntls_starttls on\ntls_certcheck off\n"
            f"tls_cert_file {own.certificate}\ntls_key_file {own.key}\nauth external\nuser {NAME}\n"
            f"from {NAME}\naccount default\n"
        )
        settings.chmod(0o600)
        await asyncio.to_thread(by_smtplib)
        await asyncio.to_thread(
            by_program, "msmtp", f"--file={settings}", "bob@beta.test", given=LETTER.replace(b"\r\n", b"\n")
        )
        curl = f"curl -sS --insecure --url smtps://127.0.0.1:{relay.port} --cert {own.certificate} --key {own.key}"
        options = (
            f"--login-options AUTH=EXTERNAL --user {NAME}: --mail-from {NAME} --mail-rcpt bob@beta.test -T {letter}"
        )
        await asyncio.to_thread(by_program, *curl.split(), *options.split())
        assert [message.envelope.account for message in relay.carrier.messages] == [NAME] * 3
        # A password goes on working beside it.
        client = await relay.connect(tls=False)
        await client.start_tls(relay.client_context())
        assert (await client.line())[:3] == "220"
        await hello(client)
        assert (await client.ask(f"AUTH PLAIN {b64(f'{chr(0)}{NAME}{chr(0)}{PASSWORD}')}"))[:3] == "235"
        await client.close()
