# SPDX-License-Identifier: GPL-3.0-or-later
"""Updates as a name server gets them, and looks at servers that have the records or not."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import dns.exception
import dns.message
import dns.name
import dns.rcode
import dns.resolver
import dns.tsigkeyring
import dns.update
import pytest

from relay_agent.certificates import name_servers
from relay_agent.certificates.name_servers import look, publish
from relay_agent.certificates.problem import CertificateError
from relay_agent.certificates.settings import NameServer

KEY = "c2VjcmV0IG9mIGEgdGVzdA=="
NAMES = ["_465._tcp.relay.example.org.", "_587._tcp.relay.example.org."]
DIGESTS = ["aa" * 32, "bb" * 32]


class Server:
    """Takes one signed update after the other over TCP."""

    def __init__(self) -> None:
        self.rcode = dns.rcode.NOERROR
        self.taken: list[Any] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join()

    def _serve(self) -> None:
        keyring = dns.tsigkeyring.from_text({"relay": KEY})
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            with connection:
                size = int.from_bytes(connection.recv(2), "big")
                update = dns.message.from_wire(connection.recv(size), keyring=keyring)
                self.taken.append(update)
                answer = dns.message.make_response(update)
                answer.set_rcode(self.rcode)
                wire = answer.to_wire()
                connection.sendall(len(wire).to_bytes(2, "big") + wire)


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture(autouse=True)
def zone(monkeypatch: pytest.MonkeyPatch) -> None:
    """example.org, with two name servers."""
    monkeypatch.setattr(dns.resolver, "zone_for_name", lambda _: dns.name.from_text("example.org"))
    found = [SimpleNamespace(target=dns.name.from_text(name)) for name in ("ns2.example.net", "ns1.example.net")]
    monkeypatch.setattr(dns.resolver, "resolve", lambda *_: found)


def access(server: Server) -> NameServer:
    return NameServer(server="127.0.0.1", port=server.port, key_name="relay", key_secret=KEY, ttl=300)


def test_an_update_replaces_what_is_there(server: Server) -> None:
    publish(access(server), NAMES, DIGESTS)
    (update,) = server.taken
    assert isinstance(update, dns.update.UpdateMessage)
    assert update.had_tsig
    assert [str(each.name) for each in update.zone] == ["example.org."]
    added = {(str(each.name), each[0].to_text()) for each in update.update if each.ttl == 300}
    assert added == {(name, f"3 1 1 {digest}") for name in NAMES for digest in DIGESTS}
    removed = [str(each.name) for each in update.update if each.deleting is not None]
    assert removed == NAMES


def test_a_refusal(server: Server) -> None:
    server.rcode = dns.rcode.REFUSED
    with pytest.raises(CertificateError, match=r"127\.0\.0\.1 refuses to publish the TLSA records: REFUSED"):
        publish(access(server), NAMES, DIGESTS)


def test_a_server_that_is_not_there(server: Server) -> None:
    gone = NameServer(server="127.0.0.1", port=1, key_name="relay", key_secret=KEY)
    with pytest.raises(CertificateError, match="could not be published at"):
        publish(gone, NAMES, DIGESTS)


def test_all_servers_have_all() -> None:
    asked: list[tuple[str, str]] = []

    def ask(server: str, owner: str) -> tuple[set[str], int]:
        asked.append((server, owner))
        return {*DIGESTS, "cc" * 32}, 300 if server.startswith("ns1") else 600

    assert look(NAMES, DIGESTS, ask).missing == ""
    assert look(NAMES, DIGESTS, ask).ttl == 600
    assert set(asked) == {(server, name) for server in ("ns1.example.net.", "ns2.example.net.") for name in NAMES}


def test_one_of_them_lags_behind() -> None:
    said = look(NAMES, DIGESTS, lambda server, _: (set(DIGESTS[: 1 + server.startswith("ns1")]), 300)).missing
    assert said == f"the name server ns2.example.net has no TLSA record 3 1 1 {DIGESTS[1]} at {NAMES[0]}"


def test_one_of_them_is_silent() -> None:
    def ask(*_: str) -> tuple[set[str], int]:
        raise dns.exception.Timeout

    assert "ns1.example.net does not answer" in look(NAMES, DIGESTS, ask).missing


def test_a_zone_that_cannot_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(_: str) -> None:
        raise dns.resolver.NoNameservers

    monkeypatch.setattr(dns.resolver, "zone_for_name", nothing)
    assert "cannot be found" in look(NAMES, DIGESTS).missing


def test_records_of_another_kind_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(query: Any, *_: Any, **__: Any) -> tuple[Any, bool]:
        text = f"id 1\nopcode QUERY\nrcode NOERROR\nflags QR AA\n;QUESTION\n{NAMES[0]} IN TLSA\n;ANSWER\n"
        lines = [
            f"{NAMES[0]} 60 IN TLSA {kind} {digest}\n" for kind, digest in (("3 1 1", "aa" * 32), ("2 1 1", "bb" * 32))
        ]
        return dns.message.from_text(text + "".join(lines)), False

    monkeypatch.setattr(dns.query, "udp_with_fallback", answer)
    monkeypatch.setattr(name_servers, "_address", lambda _: "192.0.2.53")
    assert name_servers.records_at("ns1.example.net.", NAMES[0]) == ({"aa" * 32}, 60)
    assert name_servers.records_at("ns1.example.net.", "_25._tcp.other.example.") == (set(), 0)
