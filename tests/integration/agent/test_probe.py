# SPDX-License-Identifier: GPL-3.0-or-later
"""`relay-agent probe` against a real agent, directly and with somebody in between.

Those in between are programs of the tests here, of some lines each; real routers and servers are in the scenario.
"""

from __future__ import annotations

import json
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from relay_agent.cli.main import main
from relay_agent.probe import attempt
from relay_agent.probe import survey as module
from relay_agent.probe.known import load
from tests.integration.certificates import make_certificate

from .conftest import Agent

pytestmark = pytest.mark.usefixtures("here")
quickly = pytest.mark.usefixtures("near")


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """relay.test is on this machine; nobody's name servers are asked."""
    monkeypatch.setattr(module, "addresses", lambda host: (("ipv4", "127.0.0.1"),))


@pytest.fixture
def near(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever answers is on this machine, busy as it may be: who says nothing within a second will not."""
    monkeypatch.setattr(attempt, "_GREETING", 1.0)


Filter = Callable[[bytes], bytes]


@pytest.fixture
def between() -> Iterator[Callable[[int, Filter], int]]:
    """A middlebox in front of a port that changes what the relay says; returns its own port."""
    listeners: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def begin(work: Callable[..., None], *arguments: object) -> None:
        threads.append(threading.Thread(target=work, args=arguments))
        threads[-1].start()

    def carry(client: socket.socket, port: int, change: Filter) -> None:
        with closing(client), socket.create_connection(("127.0.0.1", port)) as relay, suppress(OSError):
            while True:
                for ready in select.select([client, relay], [], [])[0]:
                    data = ready.recv(65536)
                    if not data:
                        return
                    (client if ready is relay else relay).sendall(change(data) if ready is relay else data)

    def serve(listener: socket.socket, port: int, change: Filter) -> None:
        with suppress(OSError):
            while True:
                begin(carry, listener.accept()[0], port, change)

    def start(port: int, change: Filter) -> int:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)
        begin(serve, listener, port, change)
        return int(listener.getsockname()[1])

    yield start
    for listener in listeners:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
    for thread in threads:
        thread.join()


def answering(reply: bytes, *, tls: ssl.SSLContext | None = None) -> int:
    """A server that says one thing to everybody, after a TLS handshake or at once."""
    listener = socket.create_server(("127.0.0.1", 0))

    def answer(client: socket.socket) -> None:
        with closing(client), suppress(OSError):
            client.settimeout(20)
            with closing(tls.wrap_socket(client, server_side=True) if tls is not None else client) as talk:
                if reply.startswith(b"HTTP"):
                    talk.recv(4096)
                talk.sendall(reply)
                talk.recv(4096)

    def serve() -> None:
        while True:
            threading.Thread(target=answer, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    return int(listener.getsockname()[1])


def probe(
    capsys: pytest.CaptureFixture[str], agent: Agent, tmp_path: Path, *ports: int, options: tuple[str, ...] = ()
) -> tuple[int, dict[str, object], dict[int, dict[str, object]]]:
    words = ["probe", "relay.test", "--json", "--known", str(tmp_path / "known.json")]
    words += ["--ca", str(agent.certificate.certificate)] if "--no-ca" not in options else []
    words += [word for port in ports for word in ("--port", str(port))]
    status = main([*words, *(option for option in options if option != "--no-ca")])
    found = json.loads(capsys.readouterr().out)
    return status, found, {entry["port"]: entry for entry in found["ports"]}


def test_the_relay_as_it_is(lasting_agent: Agent, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    status, found, ports = probe(capsys, lasting_agent, tmp_path, lasting_agent.starttls)
    assert (status, found["signed"], list(ports)) == (0, True, [lasting_agent.starttls])
    begun = time.monotonic()
    status, found, ports = probe(capsys, lasting_agent, tmp_path)
    assert time.monotonic() - begun < 10
    assert status == 0
    # It said itself, signed, which ports it has: none of them is among the usual ones here.
    assert found["signed"] is True
    assert {entry["port"] for entry in found["declared"]} == {lasting_agent.starttls, lasting_agent.implicit}  # type: ignore[attr-defined]
    assert ports[lasting_agent.starttls]["works"] == ["STARTTLS"]
    assert ports[lasting_agent.implicit]["works"] == ["TLS"]
    assert found["setting"]["port"] == lasting_agent.implicit  # type: ignore[index]
    assert load(tmp_path / "known.json", "relay.test").keys == (found["key"],)


@quickly
def test_starttls_taken_out(
    lasting_agent: Agent,
    between: Callable[[int, Filter], int],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    port = between(
        lasting_agent.starttls,
        lambda data: data.replace(b"250-STARTTLS\r\n", b"").replace(b"250 STARTTLS", b"250 NOOP"),
    )
    status, found, ports = probe(capsys, lasting_agent, tmp_path, port)
    assert status == 1
    assert found["setting"] is None
    assert ports[port]["what"] == "stripped"


@quickly
def test_somebody_else_with_a_certificate_of_their_own(
    lasting_agent: Agent, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    probe(capsys, lasting_agent, tmp_path, lasting_agent.implicit)
    theirs = make_certificate(tmp_path, "relay.test")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(theirs.certificate, theirs.key)
    port = answering(b"220 relay.test ESMTP\r\n", tls=context)
    status, _, ports = probe(capsys, lasting_agent, tmp_path, port)
    assert status == 1
    assert ports[port]["what"] == "certificate"
    assert "do not sign in" in str(ports[port]["words"])


@quickly
def test_the_key_is_known_again_where_the_authority_is_not(
    lasting_agent: Agent, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    probe(capsys, lasting_agent, tmp_path, lasting_agent.implicit)
    status, found, ports = probe(capsys, lasting_agent, tmp_path, options=("--no-ca",))
    assert status == 1
    assert found["signed"] is True
    assert "the relay's own key" in str(ports[lasting_agent.implicit]["words"])


@quickly
@pytest.mark.parametrize(
    ("reply", "what"),
    [
        (b"220 mail.isp.test ESMTP Postfix\r\n", "other"),
        (b"HTTP/1.0 302 Found\r\nLocation: http://login.hotel.test/\r\n\r\n", "portal"),
        (b"HTTP/1.0 200 OK\r\n\r\nhello", "other"),
        (b"SSH-2.0-OpenSSH_9\r\n", "other"),
        (b"554 5.7.1 Not from there\r\n", "turned_away"),
        (b"\xff\xfe\x00\n", "other"),
        (b"220 \x1b[31mred\x07\r\n", "other"),
    ],
)
def test_somebody_else_answers(
    lasting_agent: Agent, capsys: pytest.CaptureFixture[str], tmp_path: Path, reply: bytes, what: str
) -> None:
    if reply.startswith(b"220"):
        reply += b"250 hello\r\n500 what\r\n221 bye\r\n"
    port = answering(reply)
    status, _, ports = probe(capsys, lasting_agent, tmp_path, port)
    assert (status, ports[port]["what"]) == (1, what)


@quickly
def test_the_words_are_for_a_person(lasting_agent: Agent, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    known = str(tmp_path / "known.json")
    ca = str(lasting_agent.certificate.certificate)
    closed = answering(b"220 \x1b[31misp\r\n250 hello\r\n500 what\r\n221 bye\r\n")
    port = ["--port", str(lasting_agent.implicit)]
    assert main(["probe", "relay.test", "--ca", ca, "--known", known, *port]) == 0
    text = capsys.readouterr().out
    assert "Mail can be sent from here." in text
    assert f"port      {lasting_agent.implicit}" in text
    lines = text.splitlines()
    assert f"{lasting_agent.implicit}  IPv4  open, TLS" in lines
    assert lines[0] == "relay.test  127.0.0.1"
    assert main(["probe", "relay.test", "--ca", ca, "--known", known, "--port", str(closed)]) == 1
    text = capsys.readouterr().out
    assert "\x1b" not in text
    assert "Mail cannot be sent from here. Somebody else answers" in text


@quickly
def test_several_relays(lasting_agent: Agent, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = ["probe", "relay.test", "other.test", "relay.test", "--known", str(tmp_path / "known.json")]
    words += ["--ca", str(lasting_agent.certificate.certificate), "--port", str(lasting_agent.implicit)]
    assert main(words) == 1
    text = capsys.readouterr().out
    assert text.count("127.0.0.1") == 2
    assert text.index("Mail can be sent from here.") < text.index("other.test") < text.index("Mail cannot be sent")
    assert main([*words, "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert [(each["host"], each["usable"]) for each in found] == [("relay.test", True), ("other.test", False)]


@quickly
def test_an_address_in_place_of_the_name(
    lasting_agent: Agent, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = ["probe", "127.0.0.1", "--known", str(tmp_path / "known.json")]
    words += ["--ca", str(lasting_agent.certificate.certificate), "--port", str(lasting_agent.implicit)]
    assert main(words) == 1
    text = capsys.readouterr().out
    assert "answers with a valid certificate for relay.test: give that name in place of its address" in text
    assert "Mail programs check the certificate for a name: give the relay's name." in text


def test_mistakes_are_told(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["probe", "relay.test", "--ca", str(tmp_path / "missing.pem")]) == 2
    assert "missing.pem" in capsys.readouterr().err
    (tmp_path / "empty.pem").write_text("nothing")
    assert main(["probe", "relay.test", "--ca", str(tmp_path / "empty.pem")]) == 2
    assert "empty.pem: the file of authorities has no certificates (PEM)" in capsys.readouterr().err
