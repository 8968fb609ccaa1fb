# SPDX-License-Identifier: GPL-3.0-or-later
"""The read side without a network: bytes handed in, in every way they can be cut."""

from __future__ import annotations

import asyncio
import io
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from relay_agent.accounts.verifier import Verifier
from relay_agent.config.load import parse_config
from relay_agent.observability.log import MailLog
from relay_agent.queue.model import Message, QueueStore
from relay_agent.submission import read_side
from relay_agent.submission.service import SubmissionService
from relay_agent.submission.session import SubmissionSession, session_factory

CONFIG = """
hostname = "relay.test"
[[listener]]
port = 2525
tls = "none"
auth = "none"
[submission]
trusted_networks = ["127.0.0.0/8"]
"""
MESSAGE = b"MAIL FROM:<a@alpha.test>\r\nRCPT TO:<b@beta.test>\r\nDATA\r\n..x\r\n.\r\n"


class Wire(asyncio.Transport):
    """A transport that keeps what is written."""

    def __init__(self, ssl_object: object = None) -> None:
        super().__init__({"peername": ("127.0.0.1", 50000), "ssl_object": ssl_object})
        self.writes: list[bytes] = []
        self.closed = False
        self.aborted = False
        self.paused = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.writes.append(bytes(data))

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = self.aborted = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def is_reading(self) -> bool:
        return not self.paused

    async def give_socket(self) -> socket.socket:
        return socket.socket()


class Store:
    """Keeps messages in memory; `gate` makes it wait like a disk."""

    def __init__(self, directory: Path) -> None:
        self.messages: list[Message] = []
        self.directory = directory
        self.gate: asyncio.Event | None = None

    def spool_directory(self) -> Path:
        return self.directory

    async def store(self, message: Message) -> None:
        if self.gate is not None:
            await self.gate.wait()
        self.messages.append(message)

    def submit(self, message: Message) -> None:
        pass


class Bench:
    """A session on a wire."""

    def __init__(self, directory: Path, config_text: str = CONFIG) -> None:
        self.store = Store(directory)
        self.log = io.StringIO()
        verifier = Verifier({})
        config = parse_config(config_text, "test.toml")
        self.service = SubmissionService(
            config, cast(QueueStore, self.store), self.store, verifier, MailLog(self.log), None
        )
        loop = asyncio.get_running_loop()
        self.make = session_factory(self.service, config.listener[0], loop)
        verifier.close()

    def connect(self) -> tuple[SubmissionSession, Wire]:
        session, wire = self.make(), Wire()
        session.connection_made(wire)
        return session, wire


@pytest.fixture
async def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


async def test_a_session_cut_at_every_byte(bench: Bench) -> None:
    stream = b"EHLO laptop.test\r\n" + MESSAGE + MESSAGE + b"QUIT\r\n"
    codes = [b"220", b"250", b"250", b"250", b"354", b"250", b"250", b"250", b"354", b"250", b"221"]
    for cut in range(len(stream) + 1):
        bench.store.messages.clear()
        session, wire = bench.connect()
        session.data_received(stream[:cut])
        session.data_received(stream[cut:])
        replies = [line[:3] for line in b"".join(wire.writes).splitlines() if line[3:4] != b"-"]
        assert replies == codes, cut
        assert len(bench.store.messages) == 2
        assert bench.store.messages[1].body.read().endswith(b"\r\n\r\n.x\r\n")
        assert wire.closed
        session.connection_lost(None)
    assert len(bench.service.sessions) == 0


async def test_a_pipelined_batch_is_answered_in_one_write(bench: Bench) -> None:
    session, wire = bench.connect()
    session.data_received(b"EHLO laptop.test\r\n")
    before = len(wire.writes)
    session.data_received(b"MAIL FROM:<a@alpha.test>\r\n" + b"RCPT TO:<b@beta.test>\r\n" * 20 + b"DATA\r\n")
    assert len(wire.writes) == before + 1
    assert wire.writes[-1].count(b"\r\n") == 22
    session.connection_lost(None)


async def test_commands_behind_a_commit_wait_for_it(bench: Bench) -> None:
    bench.store.gate = asyncio.Event()
    session, wire = bench.connect()
    session.data_received(b"EHLO laptop.test\r\n" + MESSAGE + b"NOOP\r\n")
    assert b"".join(wire.writes).endswith(b"354 Go ahead; end with a line that is only a dot\r\n")
    session.data_received(b"QUIT\r\n")
    assert not wire.closed
    session.data_received(b"x" * 300_000)
    assert wire.paused
    bench.store.gate.set()
    for _ in range(5):
        await asyncio.sleep(0)
    assert b"Queued as" in b"".join(wire.writes)
    assert b"".join(wire.writes).endswith(b"250 2.0.0 OK\r\n221 2.0.0 Bye\r\n")
    assert wire.closed
    session.connection_lost(None)


@pytest.mark.parametrize(("client", "most"), [("127.0.0.1", 100_000), ("192.0.2.1", 16_384)])
async def test_a_trusted_client_behind_a_balancer_is_read_in_large_blocks(
    tmp_path: Path, client: str, most: int
) -> None:
    bench = Bench(tmp_path, CONFIG.replace('auth = "none"', 'auth = "none"\nproxy_from = ["198.51.100.1"]'))
    near, far = socket.socketpair()
    near.setblocking(False)
    read: asyncio.Queue[int] = asyncio.Queue()
    with far:
        session = bench.make()
        take = session.data_received

        def taken(data: bytes) -> None:
            read.put_nowait(len(data))
            take(data)

        session.data_received = taken  # type: ignore[method-assign]
        far.sendall(f"PROXY TCP4 {client} 127.0.0.1 50000 2525\r\n".encode() + b"x" * 100_000)
        session.accepted(near, ("198.51.100.1", 50000))
        assert await asyncio.wait_for(read.get(), 10) == most
        cast(asyncio.Transport, session.transport).abort()
        await asyncio.sleep(0)
    assert session.transport is None


async def test_nothing_is_read_while_the_client_does_not_read(bench: Bench) -> None:
    session, _ = bench.connect()
    session.pause_writing()
    session.data_received(b"EHLO laptop.test\r\n" + MESSAGE)
    assert bench.store.messages == []
    session.resume_writing()
    assert len(bench.store.messages) == 1
    session.connection_lost(None)


@pytest.mark.parametrize("line", [b"NOOP " + b"x" * 3000 + b"\r\n", b"x" * 1_000_000 + b"\r\n"])
async def test_a_line_too_long_is_dropped_and_the_session_goes_on(bench: Bench, line: bytes) -> None:
    for piece in (len(line), 1000):
        session, wire = bench.connect()
        for start in range(0, len(line), piece):
            session.data_received(line[start : start + piece])
        session.data_received(b"NOOP\r\n")
        answers = b"".join(wire.writes).splitlines()[1:]
        assert answers == [b"500 5.5.2 The line is too long", b"250 2.0.0 OK"], piece
        session.connection_lost(None)


async def test_a_fault_in_a_command_is_temporary(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(self: Any, arg: str | None) -> None:
        raise ValueError("secret")

    monkeypatch.setattr(SubmissionSession, "smtp_NOOP", broken)
    session, wire = bench.connect()
    session.data_received(b"NOOP\r\nRSET\r\n")
    assert b"".join(wire.writes[1:]).startswith(b"451 4.3.0 ")
    assert b"secret" not in b"".join(wire.writes)
    assert b"".join(wire.writes).endswith(b"250 2.0.0 Dropped\r\n")
    bench.service.events.flush()  # type: ignore[attr-defined]
    assert "secret" in bench.log.getvalue()
    session.connection_lost(None)


async def test_random_bytes_never_break_a_session(bench: Bench) -> None:
    import random

    chance = random.Random(20261123)
    words = [
        b"EHLO x",
        b"MAIL FROM:<a@b.test>",
        b"RCPT TO:<c@d.test>",
        b"DATA",
        b".",
        b"RSET",
        b"AUTH PLAIN",
        b"\xff\0",
    ]
    for _ in range(300):
        session, wire = bench.connect()
        for _ in range(20):
            piece = chance.choice(words) if chance.random() < 0.8 else chance.randbytes(chance.randrange(40))
            if not wire.closed:
                session.data_received(piece + chance.choice([b"\r\n", b"\r\n", b"\r\n", b"\n", b""]))
        session.connection_lost(None)
    bench.service.events.flush()  # type: ignore[attr-defined]
    assert "command_failed" not in bench.log.getvalue()
    assert len(bench.service.sessions) == 0


@pytest.mark.parametrize("hook", ["its own reply", "an exception of its own", "nothing"])
@pytest.mark.parametrize("waits", [False, True])
async def test_a_command_that_fails_is_answered_by_the_hook_or_by_451(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, hook: str, waits: bool
) -> None:
    async def fails(self: SubmissionSession, arg: str | None) -> None:
        if waits:
            await asyncio.sleep(0)
        raise LookupError("the secrets of this place")

    async def handle(self: SubmissionSession, error: Exception) -> Any:
        assert isinstance(error, LookupError)
        if hook == "nothing":
            return None
        if hook == "an exception of its own":
            raise ValueError("more secrets")
        return "554 5.3.0 The hook's"

    monkeypatch.setattr(SubmissionSession, "smtp_NOOP", fails)
    monkeypatch.setattr(SubmissionSession, "handle_exception", handle)
    session, wire = bench.connect()
    session.data_received(b"NOOP\r\nRSET\r\n")
    for _ in range(4):
        await asyncio.sleep(0)
    replies = b"".join(wire.writes).splitlines()
    wanted = (
        b"554 5.3.0 The hook's" if hook == "its own reply" else b"451 4.3.0 Something went wrong here; try again later"
    )
    assert replies[-2:] == [wanted, b"250 2.0.0 Dropped"]
    session.connection_lost(None)


async def test_a_flood_of_commands_leaves_the_others_their_turn(bench: Bench) -> None:
    session, wire = bench.connect()
    turns = 0
    session.data_received(b"NOOP\r\n" * 60_000)
    assert wire.paused
    while (answered := b"".join(wire.writes).count(b"\r\n")) < 60_001:
        assert answered - turns * 200 <= 201
        turns += 1
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not wire.paused
    session.connection_lost(None)


async def test_what_never_reads_its_goodbye_is_cut(bench: Bench) -> None:
    for last in (b"", b"QUIT\r\n"):
        session, wire = bench.connect()
        session.data_received(last)
        if not last:
            session.time_out()
        assert (wire.closed, wire.aborted) == (True, False)
        session.time_out()
        assert wire.aborted
        session.connection_lost(None)


async def test_a_client_that_ends_its_stream_within_the_sign_in_is_let_go(bench: Bench) -> None:
    bench.make = session_factory(
        bench.service,
        bench.service.config.listener[0].model_copy(update={"auth": "optional"}),
        asyncio.get_running_loop(),
    )
    for answered in (b"", b"*\r\n"):
        session, wire = bench.connect()
        session.data_received(b"EHLO laptop.test\r\nAUTH LOGIN\r\n" + answered)
        session.eof_received()
        for _ in range(5):
            await asyncio.sleep(0)
        assert wire.closed
        assert (b"501 5.7.0" in b"".join(wire.writes)) == bool(answered)
        session.connection_lost(None)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not session.busy


async def test_commands_before_the_end_of_the_stream_wait_for_a_slow_reader(bench: Bench) -> None:
    session, wire = bench.connect()
    session.pause_writing()
    session.data_received(b"EHLO laptop.test\r\n" + MESSAGE)
    session.eof_received()
    assert not wire.closed
    session.resume_writing()
    assert len(bench.store.messages) == 1
    assert wire.closed
    session.connection_lost(None)


async def test_a_byte_now_and_then_is_no_sign_of_life(bench: Bench) -> None:
    session, _ = bench.connect()
    for data, alive in (
        (b"NOO", False),
        (b"P\r\n", True),
        (b"EHLO x\r\n" + MESSAGE[:-5], True),
        (b"x", False),
        (b"x" * 1100, True),
    ):
        session.last_activity = 0.0
        session.data_received(data)
        assert (session.last_activity > 0.0) == alive, data
    session.connection_lost(None)


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        (b"BDAT 12 \xff\r\n", b"501 5.5.4 "),
        (b"bdat " + b" " * 3000 + b"12\r\n", b"500 5.5.2 "),
        (b"GET /" + b"x" * 3000 + b" HTTP/1.1\r\n", b"554 5.5.0 "),
    ],
)
async def test_what_follows_a_lost_line_is_never_a_command(bench: Bench, line: bytes, reply: bytes) -> None:
    for piece in (len(line) + 20, 1000, 7):
        stream = line + b"RSET\r\nNOOP\r\n"
        session, wire = bench.connect()
        for start in range(0, len(stream), piece):
            session.data_received(stream[start : start + piece])
        answers = b"".join(wire.writes).splitlines()[1:]
        assert len(answers) == 1, piece
        assert answers[0].startswith(reply)
        assert wire.closed
        session.connection_lost(None)


ENDINGS = [b"\n.\n", b"\n.\r", b"\r.\n", b"\r.\r", b"\n.\r\n", b"\r.\r\n", b"\r\n.\n", b"\r\n.\r", b"\r\n.\r\r\n"]
ENDINGS += [b"\r\r\n.\r\r\n", b"\r\n\0.\r\n", b"\r\n.\0\r\n"]


@pytest.mark.parametrize("ending", ENDINGS)
async def test_no_other_end_of_data_lets_a_command_through(bench: Bench, ending: bytes) -> None:
    content = b"Subject: x\r\n\r\nhello" + ending + b"MAIL FROM:<evil@alpha.test>\r\nRSET\r\n.\r\n"
    stream = b"EHLO laptop.test\r\n" + MESSAGE[:-8] + content + b"QUIT\r\n"
    begin = len(stream) - len(content) - len(b"QUIT\r\n")
    for cut in range(begin - 8, len(stream) + 1):
        bench.store.messages.clear()
        session, wire = bench.connect()
        session.data_received(stream[:cut])
        session.data_received(stream[cut:])
        replies = [line[:3] for line in b"".join(wire.writes).splitlines() if line[3:4] != b"-"]
        assert replies[:5] == [b"220", b"250", b"250", b"250", b"354"], cut
        assert replies[5:] in ([b"250", b"221"], [b"554", b"221"]), cut
        assert len(bench.store.messages) == (replies[5] == b"250")
        session.connection_lost(None)


async def test_what_comes_behind_starttls_is_never_a_command(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """However it is cut: what came before the handshake is thrown away, what comes later is the handshake's."""
    loop = asyncio.get_running_loop()
    listener = bench.service.config.listener[0].model_copy(update={"tls": "starttls"})
    bench.service.tls_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    secure = Wire(ssl_object=SimpleNamespace(version=lambda: "TLSv1.3"))
    handshakes: list[asyncio.Future[None]] = []

    async def secured(session: Callable[[], SubmissionSession], connection: socket.socket, **_: object) -> None:
        connection.close()
        handshakes.append(loop.create_future())
        await handshakes[-1]
        session().connection_made(secure)

    monkeypatch.setattr(loop, "connect_accepted_socket", secured)
    bench.make = session_factory(bench.service, listener, loop)
    stream = b"EHLO laptop.test\r\nSTARTTLS\r\n" + MESSAGE + b"QUIT\r\n"
    start = stream.index(b"STARTTLS")
    for cut in range(start, len(stream)):
        secure.writes.clear()
        session, wire = bench.connect()
        session.data_received(stream[:cut])
        if not handshakes:
            session.data_received(stream[cut:])
        handshakes.pop().set_result(None)
        for _ in range(4):
            await asyncio.sleep(0)
        session.data_received(b"NOOP\r\n")
        assert b"".join(secure.writes) == b"250 2.0.0 OK\r\n", cut
        assert b"".join(wire.writes).endswith(b"220 2.0.0 Go ahead with TLS\r\n")
        session.connection_lost(None)
    assert bench.store.messages == []


async def test_a_megabyte_in_one_line_of_a_message(bench: Bench) -> None:
    stream = MESSAGE[:-8] + b"Subject: x\r\n\r\n" + b"x" * 1_000_000 + b"\r\n.\r\n"
    session, wire = bench.connect()
    session.data_received(b"EHLO laptop.test\r\n")
    for start in range(0, len(stream), 50_000):
        session.data_received(stream[start : start + 50_000])
        assert len(session._in) < 200_000
    assert b"".join(wire.writes).splitlines()[-1].startswith(b"250 2.0.0 Queued")
    assert bench.store.messages[0].body.read().endswith(b"\r\n\r\n" + b"x" * 1_000_000 + b"\r\n")
    session.connection_lost(None)


@pytest.mark.parametrize(
    ("said", "reply", "event"),
    [
        (b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + bytes(40), b"554 5.5.0 Port 2525 begins without TLS", "tls_on_"),
        (b"GET / HTTP/1.1\r\nHost: relay.test\r\n\r\n", b"554 5.5.0 This is a mail server", "http_request"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"554 5.5.0 This is a mail server", "http_request"),
    ],
)
async def test_what_is_no_mail_program_is_named(bench: Bench, said: bytes, reply: bytes, event: str) -> None:
    for cut in range(len(said)):
        session, wire = bench.connect()
        session.data_received(said[:cut])
        if not wire.closed:
            session.data_received(said[cut:])
        assert wire.closed
        answers = b"".join(wire.writes).splitlines()[1:]
        assert len(answers) == 1, cut
        assert answers[0].startswith(reply)
        session.connection_lost(None)
    bench.service.events.flush()  # type: ignore[attr-defined]
    assert bench.log.getvalue().count(f'"event":"{event}') == len(said)


@pytest.fixture
def stranger(bench: Bench) -> tuple[SubmissionSession, Wire]:
    """A session of nobody known whose command waits for more than the client; its answer to EHLO is read."""
    bench.make = session_factory(
        bench.service,
        bench.service.config.listener[0].model_copy(update={"auth": "optional"}),
        asyncio.get_event_loop(),
    )
    bench.service.config = bench.service.config.model_copy(
        update={"submission": bench.service.config.submission.model_copy(update={"trusted_networks": ()})}
    )
    session, wire = bench.connect()
    session.data_received(b"EHLO laptop.test\r\n")
    return session, wire


async def test_a_stranger_sends_little_ahead(stranger: tuple[SubmissionSession, Wire]) -> None:
    session, wire = stranger
    never = asyncio.get_running_loop().create_future()
    session._spawn(cast("Any", asyncio.wait_for(never, None)))
    session.data_received(b"NOOP\r\n" * 2_000)
    assert not wire.paused
    session.data_received(b"NOOP\r\n" * 1_000)
    assert wire.paused
    never.set_result(None)
    for _ in range(100):
        await asyncio.sleep(0)
    assert b"".join(wire.writes).count(b"250 2.0.0 OK\r\n") == 3_000
    assert not wire.paused
    assert not wire.closed


@pytest.mark.parametrize("at_once", [True, False])
async def test_a_stranger_that_sends_very_much_at_once_is_let_go(
    bench: Bench, stranger: tuple[SubmissionSession, Wire], at_once: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As read with TLS, where one read may bring a quarter of a megabyte."""
    monkeypatch.setattr(read_side, "_LAST_WORDS", 0.01)
    session, wire = stranger
    never = asyncio.get_running_loop().create_future()

    async def slow(argument: str | None) -> None:
        await never

    session.smtp_NOOP = slow  # type: ignore[method-assign,assignment]
    if at_once:
        session.data_received(b"NOOP\r\n" * 40_000)
    else:
        session.data_received(b"NOOP\r\n")
        session.data_received(b"NOOP\r\n" * 40_000)
    assert wire.closed
    assert b"".join(wire.writes).endswith(
        b"421 4.7.0 Too much at once from somebody who has not signed in; closing\r\n"
    )
    assert len(session._in) == 0
    cast("MailLog", bench.service.events).flush()
    assert "too_much_before_sign_in" in bench.log.getvalue()
    # What TLS still has in hand is neither kept nor answered.
    session.data_received(b"NOOP\r\n" * 40_000)
    assert len(session._in) == 0
    assert b"".join(wire.writes).count(b"421 ") == 1
    assert not wire.aborted
    await asyncio.sleep(0.05)
    assert wire.aborted, "with TLS it would stay until the client says goodbye"
    never.cancel()
    session.connection_lost(None)


async def test_a_stranger_that_has_signed_in_may_send_much_ahead(stranger: tuple[SubmissionSession, Wire]) -> None:
    session, wire = stranger
    session.known()
    session.pause_writing()
    session.data_received(b"NOOP\r\n" * 40_000)
    assert not wire.paused
    session.data_received(b"NOOP\r\n" * 10_000)
    assert wire.paused
    assert not wire.closed


async def test_a_flood_of_commands_of_a_stranger_is_answered_in_turns(
    stranger: tuple[SubmissionSession, Wire],
) -> None:
    """Nothing of it waits for anything, so that nothing is kept for long."""
    session, wire = stranger
    session.data_received(b"NOOP\r\n" * 40_000)
    assert not wire.closed
    for _ in range(300):
        await asyncio.sleep(0)
    assert b"".join(wire.writes).count(b"250 2.0.0 OK\r\n") == 40_000
    assert not wire.paused
