# SPDX-License-Identifier: GPL-3.0-or-later
"""A relay's ports, knocked at as a mail program would."""

import errno
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import yaml
from ansible_collections.postroad.relay.plugins.module_utils.port_knock import is_loopback, knock, knock_all
from ansible_collections.postroad.relay.plugins.modules import port_knock
from ansible_collections.postroad.relay.plugins.plugin_utils.certificates.private_ca import PrivateCa

from tests.unit.plugins.issued import issue

SECONDS = 5.0
NAME = "localhost"
OFFERS = b"250-relay\r\n250-SIZE 1000\r\n250-FUTURERELEASE 604800 2026-12-05T18:30:22Z\r\n250 "


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ssl.SSLContext]:
    """The authority in PEM, and what a server of this name shows."""
    directory = tmp_path_factory.mktemp("authority")
    ca = PrivateCa.open_or_create(directory / "ca")
    issue(ca, directory / "host", [NAME])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "host" / "chain", directory / "host" / "key")
    return (directory / "ca" / "ca.pem").read_text(), context


@contextmanager
def server(talk: Callable[[socket.socket], None]) -> Iterator[int]:
    """A server on a port of loopback that has `talk` with whoever comes."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(SECONDS)

        def serve() -> None:
            while True:
                try:
                    client, _ = listening.accept()
                except OSError:
                    return
                client.settimeout(SECONDS)
                with client:
                    try:
                        talk(client)
                    except OSError:
                        continue

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            # Wakes the thread, which a close does not.
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()


def dialogue(client: socket.socket, context: ssl.SSLContext | None) -> None:
    """SMTP up to QUIT; with a context STARTTLS is there."""
    with client.makefile("rb") as lines:
        while line := lines.readline():
            verb = line.split()[0].upper()
            if verb == b"EHLO":
                client.sendall(OFFERS + (b"STARTTLS\r\n" if context else b"AUTH PLAIN\r\n"))
            elif verb == b"STARTTLS" and context:
                client.sendall(b"220 go on\r\n")
                with context.wrap_socket(client, server_side=True) as secure:
                    dialogue(secure, None)
                return
            else:
                client.sendall(b"221 bye\r\n")
                return


def starttls(context: ssl.SSLContext) -> Callable[[socket.socket], None]:
    def talk(client: socket.socket) -> None:
        client.sendall(b"220 relay ESMTP\r\n")
        dialogue(client, context)

    return talk


def implicit(context: ssl.SSLContext) -> Callable[[socket.socket], None]:
    def talk(client: socket.socket) -> None:
        # The first connection only sees whether anybody is there.
        with context.wrap_socket(client, server_side=True) as secure:
            secure.sendall(b"220 relay ESMTP\r\n")
            dialogue(secure, None)

    return talk


@pytest.mark.parametrize(("tls", "talk"), [("starttls", starttls), ("auto", starttls), ("implicit", implicit)])
def test_a_port_that_is_open(
    authority: tuple[str, ssl.SSLContext], tls: str, talk: Callable[[ssl.SSLContext], Callable[[socket.socket], None]]
) -> None:
    ca, context = authority
    with server(talk(context)) as port:
        found = knock(NAME, port, tls, ca, SECONDS)
    assert (found["state"], found["problem"], found["verified"]) == ("open", "", True)
    assert found["greeting"] == "relay ESMTP"
    assert found["version"] == "TLSv1.3"
    assert len(found["fingerprint"]) == 64
    # Of the time of day in FUTURERELEASE nothing is left: no two relays would agree.
    assert found["offers"] == ["AUTH PLAIN", "FUTURERELEASE 604800", "SIZE 1000"]


def test_a_port_without_tls(authority: tuple[str, ssl.SSLContext]) -> None:
    def talk(client: socket.socket) -> None:
        client.sendall(b"220 relay ESMTP\r\n")
        dialogue(client, None)

    with server(talk) as port:
        found = knock(NAME, port, "none", "", SECONDS)
    assert (found["state"], found["version"], found["verified"]) == ("open", "", None)


def test_a_certificate_that_nobody_vouches_for_is_trouble_and_shown(authority: tuple[str, ssl.SSLContext]) -> None:
    with server(starttls(authority[1])) as port:
        found = knock(NAME, port, "starttls", "", SECONDS)
    assert (found["state"], found["verified"]) == ("troubled", False)
    assert found["problem"].startswith("the certificate does not verify: ")
    assert len(found["fingerprint"]) == 64
    assert found["offers"]


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    found = knock("127.0.0.1", port, "starttls", "", SECONDS)
    assert (found["state"], found["problem"]) == ("closed", "refused: nothing listens there")


def test_a_name_that_nobody_has() -> None:
    assert knock("relay.invalid", 587, "starttls", "", SECONDS)["problem"].startswith("no address for relay.invalid")


def test_a_relay_that_turns_away() -> None:
    with server(lambda client: client.sendall(b"421 4.7.0 too many connections\r\n")) as port:
        found = knock("127.0.0.1", port, "starttls", "", SECONDS)
    assert (found["state"], found["problem"]) == ("troubled", "the server said 421 4.7.0 too many connections")


def test_somebody_who_hangs_up() -> None:
    with server(lambda client: None) as port:
        found = knock("127.0.0.1", port, "starttls", "", SECONDS)
    assert (found["state"], found["problem"]) == ("troubled", "the connection was closed before a greeting")


def test_a_port_that_speaks_without_tls_where_tls_is_awaited(authority: tuple[str, ssl.SSLContext]) -> None:
    with server(starttls(authority[1])) as port:
        found = knock("127.0.0.1", port, "implicit", "", SECONDS)
    assert (found["state"], found["problem"]) == ("troubled", "TLS failed: wrong version number")


def test_an_address_that_leads_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EHOSTUNREACH, "No route to host")

    monkeypatch.setattr(socket, "create_connection", refuse)
    assert knock("127.0.0.1", 587, "none", "", SECONDS)["problem"] == "no route to host"


def test_somebody_who_says_nothing() -> None:
    def talk(client: socket.socket) -> None:
        client.recv(1)

    with server(talk) as port:
        found = knock("127.0.0.1", port, "starttls", "", 0.2)
    assert (found["state"], found["problem"]) == ("troubled", "connected, and then no answer in time")


def test_all_ports_in_their_order() -> None:
    with server(lambda client: client.sendall(b"421 no\r\n")) as one, server(lambda client: None) as two:
        listeners = [{"port": two, "tls": "none"}, {"port": one, "tls": "none"}]
        found = knock_all("127.0.0.1", listeners, "", SECONDS)
    assert [each["port"] for each in found] == [two, one]


@pytest.mark.parametrize(
    ("address", "expected"),
    [(None, False), ("", False), ("0.0.0.0", False), ("127.0.0.1", True), ("::1", True), ("localhost", True)],
)
def test_listeners_that_nobody_else_can_reach(address: str | None, expected: bool) -> None:
    assert is_loopback({"port": 587, "address": address}) is expected


def test_a_port_behind_a_balancer_is_no_trouble() -> None:
    for_all, for_one = {"port": 587, "tls": "auto", "web": "127.0.0.1:880"}, {"port": 465, "tls": "implicit"}
    listeners = [for_all, for_one | {"proxy_from": ["192.0.2.0/24"]}, for_one | {"address": "::1"}]
    assert port_knock.reachable(listeners) == [for_all]


def test_documentation_is_sound() -> None:
    options = yaml.safe_load(port_knock.DOCUMENTATION)["options"]
    assert options.keys() == {"host", "listeners", "ca_certificate", "timeout"}
    assert yaml.safe_load(port_knock.RETURN)["ports"]["returned"] == "always"


def test_file_of_the_authority_that_holds_none() -> None:
    with pytest.raises(ssl.SSLError):
        knock_all("127.0.0.1", [{"port": 1, "tls": "implicit"}], "rubbish", SECONDS)
