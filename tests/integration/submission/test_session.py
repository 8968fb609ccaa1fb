# SPDX-License-Identifier: GPL-3.0-or-later
"""What a session does beyond its dialogue: silence, hang-ups, limits, large mail, and faults behind it."""

from __future__ import annotations

import asyncio
import base64
import smtplib
from email.message import EmailMessage
from typing import Any

import pytest

from relay_agent.queue.body import FileBody
from relay_agent.queue.embedded import EmbeddedStore
from relay_agent.queue.model import HELD_FOR, Message, QueueFullError

from .conftest import PASSWORD, Client, Relay, Running, eventually

ENVELOPE = b"MAIL FROM:<alice@alpha.test>\r\nRCPT TO:<bob@beta.test>\r\nDATA\r\n"


async def signed_in(relay: Relay) -> Client:
    client = await relay.connect()
    assert (await client.ask("EHLO laptop.test"))[:3] == "250"
    response = base64.b64encode(f"\0alice\0{PASSWORD}".encode()).decode()
    assert (await client.ask(f"AUTH PLAIN {response}"))[:3] == "235"
    return client


async def test_what_was_answered_with_250_is_in_the_store(running: Running) -> None:
    async with running(tls="implicit") as relay:
        client = await signed_in(relay)
        await client.send(ENVELOPE + b"Subject: x\r\nBcc: hidden@beta.test\r\n\r\n..dot\r\n.\r\n")
        replies = [(await client.reply())[-1] for _ in range(4)]
        queue_id = replies[3].removeprefix("250 2.0.0 Queued as ")
        stored = await relay.service.store.get(queue_id)
        assert stored is not None
        content = stored.body.read()
        assert content.startswith(b"Received: by relay.test (Postroad) with ESMTPSA\r\n\tid " + queue_id.encode())
        assert content.endswith(b"\r\n\r\n.dot\r\n")
        assert b"hidden" not in content
        assert b"127.0.0.1" not in content
        assert (stored.envelope.reverse_path, stored.envelope.account) == ("alice@alpha.test", "alice")
        assert [each.address for each in stored.recipients.values()] == ["bob@beta.test"]
        (event,) = relay.events("accepted")
        assert event["queue_id"] == queue_id
        assert event["message_id"] == f"<{queue_id.lower()}@relay.test>"
        await client.close()


async def test_a_hold_is_kept_with_the_message(running: Running) -> None:
    """What counts as delay begins there."""
    async with running(tls="implicit") as relay:
        client = await signed_in(relay)
        await client.send(ENVELOPE.replace(b"test>\r\nRCPT", b"test> HOLDFOR=600\r\nRCPT") + b"Subject: x\r\n\r\n.\r\n")
        replies = [(await client.reply())[-1] for _ in range(4)]
        stored = await relay.service.store.get(replies[3].removeprefix("250 2.0.0 Queued as "))
        assert stored is not None
        assert stored.recipients[0].next_attempt == pytest.approx(stored.released, abs=1)
        assert stored.released == pytest.approx(stored.created + 600, abs=2)
        assert stored.envelope.options[HELD_FOR] == "600"
        await client.close()


async def test_a_large_message_goes_through_a_file(running: Running) -> None:
    content = b"Subject: large\r\n\r\n" + b"".join(b"%07d " % n + b"x" * 70 + b"\r\n" for n in range(60_000))
    async with running(tls="starttls") as relay:

        def submit() -> None:
            with smtplib.SMTP("127.0.0.1", relay.port, timeout=20) as program:
                program._host = "relay.test"  # type: ignore[attr-defined]
                program.starttls(context=relay.client_context())
                program.login("alice", PASSWORD)
                program.sendmail("alice@alpha.test", ["bob@beta.test"], content)

        await asyncio.to_thread(submit)
        (message,) = relay.carrier.messages
        assert isinstance(message.body, FileBody)
        assert message.body.read().endswith(content.partition(b"\r\n\r\n")[2])


async def test_python_smtplib_sends(running: Running) -> None:
    letter = EmailMessage()
    letter["From"], letter["To"], letter["Subject"] = "alice@alpha.test", "bob@beta.test", "grüße"
    letter.set_content("hello\n.\nworld\n")
    async with running(tls="implicit") as relay:

        def submit() -> None:
            program = smtplib.SMTP_SSL("127.0.0.1", relay.port, timeout=20, context=context)
            with program:
                program.login("alice", PASSWORD)
                program.send_message(letter)

        context = relay.client_context()
        context.check_hostname = False
        await asyncio.to_thread(submit)
        assert b"hello\r\n.\r\nworld\r\n" in relay.carrier.messages[0].body.read()


async def test_a_hang_up_does_not_undo_a_commit(running: Running) -> None:
    gate = asyncio.Event()
    begun = asyncio.Event()

    class Slow:
        def __init__(self, store: EmbeddedStore) -> None:
            self._store = store

        def __getattr__(self, name: str) -> Any:
            return getattr(self._store, name)

        async def store(self, message: Message) -> None:
            begun.set()
            await gate.wait()
            await self._store.store(message)

    async with running(tls="implicit", store=Slow) as relay:
        client = await signed_in(relay)
        await client.send(ENVELOPE + b"x: y\r\n\r\nz\r\n.\r\n")
        await asyncio.wait_for(begun.wait(), 30)
        await client.close()
        await eventually(lambda: len(relay.service.sessions) == 0)
        gate.set()
        await eventually(lambda: len(relay.carrier.messages) == 1)
        assert (await relay.service.store.counts()).messages == 1


async def test_commands_sent_before_the_end_of_the_stream_count(running: Running) -> None:
    async with running(tls="none", auth="none", settings='trusted_networks = ["127.0.0.0/8"]') as relay:
        client = await relay.connect()
        await client.send(b"EHLO laptop.test\r\n" + ENVELOPE + b"x: y\r\n\r\nz\r\n.\r\n")
        client.writer.write_eof()
        answer = await asyncio.wait_for(client.reader.read(), 30)
        assert b"250 2.0.0 Queued as" in answer
        assert len(relay.carrier.messages) == 1
        await client.close()


@pytest.mark.parametrize(
    ("error", "reply"),
    [(QueueFullError("no space"), "452 4.3.1"), (OSError("secret /path"), "451 4.3.0")],
)
async def test_a_fault_behind_is_temporary_and_tells_nothing(running: Running, error: Exception, reply: str) -> None:
    class Failing:
        def __init__(self, store: EmbeddedStore) -> None:
            self._store = store

        def __getattr__(self, name: str) -> Any:
            return getattr(self._store, name)

        async def store(self, message: Message) -> None:
            await asyncio.sleep(0)
            raise error

    async with running(tls="implicit", store=Failing) as relay:
        client = await signed_in(relay)
        await client.send(ENVELOPE + b"x: y\r\n\r\nz\r\n.\r\n")
        replies = [(await client.reply())[-1] for _ in range(4)]
        assert replies[3].startswith(reply)
        assert "secret" not in replies[3]
        assert (await client.ask("NOOP"))[:3] == "250"
        assert relay.carrier.messages == []
        await client.close()


async def test_silence_is_ended_and_steady_input_is_not(running: Running) -> None:
    settings = 'command_timeout = "2s"\ntrusted_networks = ["127.0.0.0/8"]'
    async with running(tls="none", auth="none", settings=settings) as relay:
        silent, steady = await relay.connect(), await relay.connect()
        await steady.send(b"EHLO laptop.test\r\n" + ENVELOPE)
        for _ in range(4):
            await steady.reply()
        for _ in range(12):
            await asyncio.sleep(0.3)
            await steady.send(b"still writing a good deal\r\n" * 20)
        assert (await silent.line()).startswith("421 4.4.2 ")
        assert await silent.line() == ""
        await steady.send(b".\r\n")
        assert (await steady.line()).startswith("250 ")
        await silent.close()
        await steady.close()


async def test_connections_are_limited_by_source(running: Running) -> None:
    async with running(settings="max_connections_per_source = 2") as relay:
        first, second = await relay.connect(), await relay.connect()
        third = await relay.connect(tls=False)
        assert (await third.line()).startswith("421 4.7.0 ")
        await first.close()
        await eventually(lambda: len(relay.service.sessions) == 1)
        fourth = await relay.connect()
        for client in (second, third, fourth):
            await client.close()


async def test_guessing_ends_the_session(running: Running) -> None:
    async with running(tls="implicit", settings="max_auth_failures = 2") as relay:
        client = await relay.connect()
        await client.ask("EHLO laptop.test")
        wrong = base64.b64encode(b"\0alice\0wrong").decode()
        assert (await client.ask(f"AUTH PLAIN {wrong}")).startswith("535 5.7.8")
        assert (await client.ask(f"AUTH PLAIN {wrong}")).startswith("535 5.7.8")
        assert (await client.line()).startswith("421 4.7.0")
        assert await client.line() == ""
        assert [event["account"] for event in relay.events("auth_failed")] == ["alice", "alice"]
        await client.close()


async def test_ten_thousand_recipients_are_not_taken(running: Running) -> None:
    async with running(tls="implicit", settings="max_recipients = 100") as relay:
        client = await signed_in(relay)
        batch = b"".join(b"RCPT TO:<r%d@beta.test>\r\n" % n for n in range(10_000))
        sending = asyncio.ensure_future(client.send(b"MAIL FROM:<a@alpha.test>\r\n" + batch))
        replies = [await client.line() for _ in range(10_001)]
        await sending
        assert [reply[:3] for reply in replies[:101]] == ["250"] * 101
        assert {reply[:9] for reply in replies[101:]} == {"452 4.5.3"}
        await client.close()


async def test_a_client_that_never_reads_is_not_served_without_bound(running: Running) -> None:
    async with running(tls="none", auth="none", settings='trusted_networks = ["127.0.0.0/8"]') as relay:
        client = await relay.connect()
        client.writer.transport.pause_reading()
        batch = b"HELP\r\n" * 5000

        async def flood() -> None:
            for _ in range(2000):
                await client.send(batch)

        with pytest.raises(TimeoutError):
            await asyncio.wait_for(flood(), 1.0)
        client.writer.transport.abort()
        await eventually(lambda: len(relay.service.sessions) == 0)


@pytest.mark.parametrize(
    ("said", "reply", "event"),
    [
        (b"EHLO laptop.test\r\n", b"554 5.5.0 Port 0 begins with TLS", "plaintext_on_tls_port"),
        (b"GET / HTTP/1.1\r\nHost: relay.test\r\n\r\n", b"554 5.5.0 This is a mail server", "http_request"),
        (b"\0\0\0\0", b"554 5.5.0 Port 0 begins with TLS", "plaintext_on_tls_port"),
        (b"\x16GET", b"", "tls_failed"),
        (b"", b"", "tls_failed"),
    ],
)
async def test_what_is_no_tls_on_a_tls_port_is_told_so(running: Running, said: bytes, reply: bytes, event: str) -> None:
    async with running(tls="implicit") as relay:
        client = await relay.connect(tls=False)
        await client.send(said)
        client.writer.write_eof()
        answer = await asyncio.wait_for(client.reader.read(), 30)
        assert answer.startswith(reply) if reply else not answer.startswith(b"554"), answer
        assert answer.endswith(b"\r\n") or not reply
        await eventually(lambda: len(relay.service.sessions) == 0)
        assert len(relay.events(event)) == 1
        await client.close()


async def test_http_inside_tls(running: Running) -> None:
    async with running(tls="implicit") as relay:
        client = await relay.connect()
        assert (await client.ask("GET / HTTP/1.1")).startswith("554 5.5.0 This is a mail server")
        assert await client.line() == ""
        assert len(relay.events("http_request")) == 1
        await client.close()


async def test_stopping_lets_a_message_finish(running: Running) -> None:
    async with running(tls="implicit") as relay:
        client, idle = await signed_in(relay), await relay.connect()
        await client.send(ENVELOPE)
        for _ in range(3):
            await client.reply()
        closing = asyncio.ensure_future(relay.service.sessions.close(5.0))
        assert (await idle.line()).startswith("421 4.3.2")
        await client.send(b"x: y\r\n\r\nz\r\n.\r\n")
        assert (await client.line()).startswith("250 2.0.0 Queued")
        assert await closing == 0
        assert len(relay.carrier.messages) == 1
        await client.close()
        await idle.close()


async def test_a_handshake_that_never_ends_leaves_nothing_behind(running: Running) -> None:
    async with running(tls="implicit", settings='command_timeout = "1s"') as relay:
        client = await relay.connect(tls=False)
        await eventually(lambda: len(relay.service.sessions) == 1)
        await eventually(lambda: len(relay.service.sessions) == 0)
        await client.close()


async def test_stopping_waits_for_no_one_who_has_no_message_under_way(running: Running) -> None:
    """A handshake, a sign-in and a client that sleeps and does not close TLS are no messages."""
    async with running(tls="implicit") as relay:
        staller, asked, sleeper = await relay.connect(tls=False), await relay.connect(), await relay.connect()
        await asked.ask("EHLO laptop.test")
        assert (await asked.ask("AUTH LOGIN")).startswith("334 ")
        await eventually(lambda: len(relay.service.sessions) == 3)
        asked.writer.transport.pause_reading()
        sleeper.writer.transport.pause_reading()
        assert await relay.service.sessions.close(8.0) == 0
        for client in (staller, asked, sleeper):
            client.writer.transport.abort()


async def test_large_mail_that_the_queue_refuses_leaves_no_file(running: Running) -> None:
    class Failing:
        def __init__(self, store: EmbeddedStore) -> None:
            self._store = store
            self.error: Exception = QueueFullError("no space")

        def __getattr__(self, name: str) -> Any:
            return getattr(self._store, name)

        async def store(self, message: Message) -> None:
            raise self.error

    async with running(tls="implicit", store=Failing) as relay:
        client = await signed_in(relay)
        for error, code in ((QueueFullError("no space"), "452"), (OSError("broken"), "451")):
            relay.service.store.error = error
            await client.send(ENVELOPE + b"x: y\r\n\r\n" + b"z\r\n" * 300_000 + b".\r\n")
            assert [(await client.reply())[-1][:3] for _ in range(4)][3] == code
            assert list(relay.service.store.spool_directory().iterdir()) == []
        await client.close()
