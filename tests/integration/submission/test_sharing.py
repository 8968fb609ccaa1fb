# SPDX-License-Identifier: GPL-3.0-or-later
"""Ports that mail programs and browsers share: curl, a real web server behind, and a mail program."""

from __future__ import annotations

import asyncio
import shutil
import smtplib
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.ports import free_port

from .conftest import PASSWORD, Relay, Running, eventually


@pytest.fixture
def nginx(tmp_path: Path) -> Iterator[int]:
    """Debian's nginx on loopback, which takes PROXY headers and shows what it knows of the browser."""
    program = shutil.which("nginx", path="/usr/sbin:/usr/bin")
    assert program is not None, "run scripts/test-packages.sh"
    port = free_port()
    place = tmp_path / "nginx"
    (place / "root").mkdir(parents=True)
    (place / "root" / "large").write_bytes(b"x" * 5_000_000)
    place.chmod(0o755)
    (place / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {place}/pid; error_log {place}/error;\n"
        "events {}\n"
        f"http {{ access_log off; client_body_temp_path {place}/body; proxy_temp_path {place}/proxy;\n"
        f"fastcgi_temp_path {place}/fastcgi; uwsgi_temp_path {place}/uwsgi; scgi_temp_path {place}/scgi;\n"
        f"server {{ listen 127.0.0.1:{port} proxy_protocol; root {place}/root; client_max_body_size 20m;\n"
        'location = /who { return 200 "$proxy_protocol_addr\\n"; }\n'
        "location = /take { client_body_in_single_buffer on; client_body_buffer_size 16m;\n"
        f"proxy_pass http://127.0.0.1:{port}/nothing; }} }} }}\n"
    )
    process = subprocess.Popen([program, "-p", str(place), "-c", str(place / "nginx.conf"), "-e", str(place / "error")])
    deadline = time.monotonic() + 30
    while True:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            break
        assert time.monotonic() < deadline, (place / "error").read_text()
        time.sleep(0.05)
    yield port
    process.terminate()
    process.wait()


async def browse(relay: Relay, path: str, *options: str, scheme: str = "https") -> tuple[bytes, float]:
    """What curl gets, and how many seconds it took."""
    begun = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        *("curl", "-sS", "--max-time", "20", "--cacert", str(relay.certificate.certificate)),
        *("--resolve", f"relay.test:{relay.port}:127.0.0.1", *options, f"{scheme}://relay.test:{relay.port}{path}"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return output, time.monotonic() - begun


async def send(relay: Relay, tls: str) -> float:
    """Hand a message in; seconds until the greeting."""

    def work() -> float:
        begun = time.monotonic()
        context = relay.client_context()
        if tls == "implicit":
            context.check_hostname = False
            program: smtplib.SMTP = smtplib.SMTP_SSL("127.0.0.1", relay.port, context=context, timeout=20)
        else:
            program = smtplib.SMTP("127.0.0.1", relay.port, timeout=20)
        greeted = time.monotonic() - begun
        with program:
            if tls == "starttls":
                context.check_hostname = False
                program.starttls(context=context)
            program.login("alice", PASSWORD)
            program.sendmail("alice@alpha.test", ["bob@beta.test"], b"Subject: x\r\n\r\nx\r\n")
        return greeted

    return await asyncio.to_thread(work)


@pytest.mark.parametrize("tls", ["implicit", "auto"])
@pytest.mark.parametrize("alpn", [("--http1.1",), ("--no-alpn",), ()])
async def test_a_browser_gets_the_page_over_tls(running: Running, nginx: int, tls: str, alpn: tuple[str, ...]) -> None:
    async with running(tls=tls, listener=f'web = "127.0.0.1:{nginx}"', settings='web_wait = "5s"') as relay:
        page, seconds = await browse(relay, "/who", *alpn)
        assert page == b"127.0.0.1\n"
        assert seconds < 5, "a browser does not wait"
        assert len((await browse(relay, "/large", *alpn))[0]) == 5_000_000


async def test_a_browser_gets_the_page_in_the_clear(running: Running, nginx: int) -> None:
    async with running(listener=f'web = "127.0.0.1:{nginx}"', settings='web_wait = "3s"') as relay:
        assert (await browse(relay, "/who", scheme="http"))[0] == b"127.0.0.1\n"
        assert len((await browse(relay, "/large", scheme="http"))[0]) == 5_000_000
        await eventually(lambda: len(relay.service.sessions) == 0)


@pytest.mark.parametrize(("tls", "programs"), [("implicit", "implicit"), ("starttls", "starttls"), ("auto", "both")])
async def test_a_mail_program_sends_over_the_same_port(running: Running, nginx: int, tls: str, programs: str) -> None:
    async with running(tls=tls, listener=f'web = "127.0.0.1:{nginx}"') as relay:
        for each in ("implicit", "starttls") if programs == "both" else (programs,):
            assert await send(relay, each) < 10
        assert len(relay.carrier.messages) == (2 if programs == "both" else 1)


async def test_a_client_that_begins_is_greeted_at_once_and_its_commands_count(running: Running, nginx: int) -> None:
    async with running(listener=f'web = "127.0.0.1:{nginx}"', settings='web_wait = "5s"') as relay:
        client = await relay.connect(tls=False)
        await client.send(b"EHLO a.test\r\nNOOP\r\n")
        assert (await asyncio.wait_for(client.line(), 4.5)).startswith("220 ")
        assert (await client.reply())[-1].startswith("250 ")
        assert await client.line() == "250 2.0.0 OK"
        await client.close()


@pytest.mark.parametrize("beginning", [b"G", b"GE", b"PRI", b"HEAD"])
async def test_one_that_begins_like_a_browser_and_stops_is_greeted(
    running: Running, nginx: int, beginning: bytes
) -> None:
    async with running(listener=f'web = "127.0.0.1:{nginx}"', settings='web_wait = "200ms"') as relay:
        client = await relay.connect(tls=False)
        await client.send(beginning)
        assert (await client.line()).startswith("220 ")
        await client.close()


async def test_a_request_in_pieces(running: Running, nginx: int) -> None:
    async with running(listener=f'web = "127.0.0.1:{nginx}"', settings='web_wait = "5s"') as relay:
        client = await relay.connect(tls=False)
        for byte in b"GET /who HTTP/1.0\r\n\r\n":
            await client.send(bytes([byte]))
            await asyncio.sleep(0.005)
        assert (await client.reader.read()).endswith(b"127.0.0.1\n")
        await client.close()


async def test_without_a_web_server_the_browser_is_told(running: Running) -> None:
    port = free_port()
    async with running(listener=f'web = "127.0.0.1:{port}"') as relay:
        page, _ = await browse(relay, "/", "-i", scheme="http")
        assert page.startswith(b"HTTP/1.1 503 ")
        assert page.endswith(b"Mail goes on.\r\n")
        await eventually(lambda: len(relay.service.sessions) == 0)
        assert await send(relay, "starttls") < 10


async def test_a_silent_browser_is_let_go(running: Running, nginx: int) -> None:
    settings = 'command_timeout = "1s"'
    async with running(listener=f'web = "127.0.0.1:{nginx}"', settings=settings) as relay:
        client = await relay.connect(tls=False)
        await client.send(b"GET /who HTTP/1.1\r\nHost: relay.test\r\n\r\n")
        assert await asyncio.wait_for(client.reader.readuntil(b"\n127.0.0.1\n"), 30)
        await asyncio.wait_for(client.reader.read(), 30)
        await eventually(lambda: len(relay.service.sessions) == 0)
        await client.close()


async def test_without_web_nothing_is_negotiated(running: Running) -> None:
    async with running(tls="implicit") as relay:
        context = relay.client_context()
        context.set_alpn_protocols(["http/1.1"])
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", relay.port, ssl=context, server_hostname="relay.test"
        )
        tls: ssl.SSLObject = writer.get_extra_info("ssl_object")
        assert tls.selected_alpn_protocol() is None
        assert (await reader.readline()).startswith(b"220 ")
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
