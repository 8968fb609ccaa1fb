# SPDX-License-Identifier: GPL-3.0-or-later
"""One transaction: what is said, and what becomes of each recipient."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace

import pytest

from relay_agent.delivery.client import Connection, Timeouts
from relay_agent.delivery.outcome import Deferred, Delivered, Failed, Outcome, Scope
from relay_agent.delivery.transaction import ContentError, Mail, send
from relay_agent.queue.body import MemoryBody
from relay_agent.queue.model import Body, Envelope, Recipient

from .scripted import GOOD, Scripted, connected

PLAIN = "250-mx.test\r\n250 8BITMIME"  # without PIPELINING
UTF8 = GOOD["EHLO"].replace("250 ENH", "250-SMTPUTF8\r\n250-DSN\r\n250 ENH")


def _mail(*recipients: str, sender: str = "alice@home.test", body: Body | None = None, **options: str) -> Mail:
    return Mail(
        Envelope(sender, "alice", options),
        {number: Recipient(address) for number, address in enumerate(recipients)},
        body or MemoryBody(b"Subject: x\r\n\r\n.body\r\n"),
    )


async def _send(
    server: Scripted, mail: Mail, timeouts: Timeouts | None = None
) -> tuple[dict[int, Outcome], Connection]:
    async with connected(server, timeouts) as connection:
        await connection.greet()
        return await send(connection, mail), connection


def _kinds(outcomes: dict[int, Outcome]) -> list[str]:
    return [type(outcomes[number]).__name__ for number in sorted(outcomes)]


@pytest.mark.parametrize("hello", [GOOD["EHLO"], PLAIN])
async def test_delivered(hello: str) -> None:
    server = Scripted({"EHLO": hello})
    outcomes, _ = await _send(server, _mail("bob@a.test", "carol@a.test", BODY="8BITMIME"))
    assert _kinds(outcomes) == ["Delivered", "Delivered"]
    assert outcomes[0].text == "250 2.0.0 Taken"
    size = "SIZE=21 " if "SIZE" in hello else ""
    assert server.seen[1:] == [
        f"MAIL FROM:<alice@home.test> {size}BODY=8BITMIME",
        "RCPT TO:<bob@a.test>",
        "RCPT TO:<carol@a.test>",
        "DATA",
    ]
    assert server.content == [b"Subject: x\r\n\r\n..body\r\n.\r\n"]


@pytest.mark.parametrize("hello", [GOOD["EHLO"], PLAIN])
async def test_each_recipient_has_its_own_reply(hello: str) -> None:
    replies = ["250 Ok", "550 5.1.1 Unknown", "450 4.2.1 Later", "250 Ok"]
    server = Scripted({"EHLO": hello, "RCPT": replies})
    outcomes, _ = await _send(server, _mail("a@a.test", "b@a.test", "c@a.test", "d@a.test"))
    assert _kinds(outcomes) == ["Delivered", "Failed", "Deferred", "Delivered"]
    assert outcomes[1].status == "5.1.1"


@pytest.mark.parametrize("hello", [GOOD["EHLO"], PLAIN])
async def test_the_connection_is_good_for_another_message_after_a_refusal(hello: str) -> None:
    server = Scripted({"EHLO": hello, "RCPT": ["550 5.1.1 Unknown", "250 Ok"], "DATA": ["503 No one", "354 Go on"]})
    if hello == PLAIN:
        server.answers.pop("DATA")
    async with connected(server) as connection:
        await connection.greet()
        assert _kinds(await send(connection, _mail("a@a.test"))) == ["Failed"]
        assert connection.usable
        assert _kinds(await send(connection, _mail("b@a.test"))) == ["Delivered"]
        assert "RSET" in server.seen


async def test_data_goes_ahead_with_nobody_accepted() -> None:
    server = Scripted({"RCPT": ["550 5.1.1 Unknown", "250 Ok"], ".": ["554 No one", "250 Taken"]})
    async with connected(server) as connection:
        await connection.greet()
        assert _kinds(await send(connection, _mail("a@a.test"))) == ["Failed"]
        assert _kinds(await send(connection, _mail("b@a.test"))) == ["Delivered"]
    assert server.content[0] == b".\r\n"


@pytest.mark.parametrize("hello", [GOOD["EHLO"], PLAIN])
async def test_a_refused_sender(hello: str) -> None:
    answers = {
        "EHLO": hello,
        "MAIL": "550 5.7.1 Not you",
        "RCPT": "503 5.5.1 MAIL first",
        "DATA": "503 5.5.1 MAIL first",
    }
    outcomes, _ = await _send(Scripted({**answers}), _mail("a@a.test", "b@a.test"))
    assert [outcome.status for outcome in outcomes.values()] == ["5.7.1", "5.7.1"]


@pytest.mark.parametrize("answer", ["452 4.5.3 Too many", "452 Too many", "552 Too many", "552 5.5.3 Too many"])
async def test_too_many_recipients_may_follow_at_once(answer: str) -> None:
    server = Scripted({"RCPT": ["250 Ok", answer]})
    outcomes, _ = await _send(server, _mail("a@a.test", "b@a.test"))
    assert isinstance(outcomes[1], Deferred)
    assert outcomes[1].again


@pytest.mark.parametrize("answers", [["250 Ok", "552 5.2.2 Mailbox full"], ["552 Mailbox full", "250 Ok"]])
async def test_a_mailbox_that_is_full_is_not_too_many_recipients(answers: list[str]) -> None:
    """Its status says so, or it was refused with nobody before it."""
    outcomes, _ = await _send(Scripted({"RCPT": answers}), _mail("a@a.test", "b@a.test"))
    assert sorted(_kinds(outcomes)) == ["Delivered", "Failed"]


@pytest.mark.parametrize(
    ("answers", "text"),
    [
        ({"MAIL": ""}, "connection closed by the other side in reply to MAIL"),
        ({"RCPT": "", "EHLO": PLAIN}, "connection closed by the other side in reply to RCPT"),
        ({"DATA": None}, "timed out in reply to DATA"),
        ({"MAIL": "hello?"}, "the server does not speak SMTP: hello? in reply to MAIL"),
        ({"RCPT": "421 4.3.2 Bye"}, "421 4.3.2 Bye"),
        ({"DATA": "250 What?"}, "unexpected reply: 250 What?"),
        ({".": "421 4.3.2 Bye"}, "421 4.3.2 Bye"),
    ],
)
async def test_broken_off(answers: dict[str, str | None], text: str) -> None:
    outcomes, _ = await _send(Scripted({**answers}), _mail("a@a.test"), Timeouts(data=0.2))
    (outcome,) = outcomes.values()
    assert isinstance(outcome, Deferred)
    assert outcome.text == text
    assert outcome.scope >= Scope.ELSEWHERE


@pytest.mark.parametrize("answer", ["", None, "nonsense"])
async def test_lost_after_the_end_of_data_is_not_tried_elsewhere_at_once(answer: str | None) -> None:
    outcomes, _ = await _send(Scripted({".": answer}), _mail("a@a.test"), Timeouts(end=0.2))
    (outcome,) = outcomes.values()
    assert isinstance(outcome, Deferred)
    assert outcome.scope is Scope.RECIPIENT
    assert outcome.text.endswith("it may have been delivered, a second copy is possible")


async def test_what_was_decided_stays_when_the_connection_breaks() -> None:
    server = Scripted({"EHLO": PLAIN, "RCPT": ["550 5.1.1 Unknown", ""]})
    outcomes, _ = await _send(server, _mail("a@a.test", "b@a.test", "c@a.test"))
    assert _kinds(outcomes) == ["Failed", "Deferred", "Deferred"]


async def test_too_large_is_told_without_sending() -> None:
    server = Scripted()
    outcomes, _ = await _send(server, _mail("a@a.test", body=MemoryBody(b"x" * 100_001)))
    assert outcomes[0] == Failed("5.3.4", "the message has 100001 bytes, the server takes 100000", "mx.test")
    assert len(server.seen) == 1


@pytest.mark.parametrize(
    "hostile", ["b@a.test>\r\nRCPT TO:<x@a.test", "b\0@a.test", "b c@a.test", "b@a.test\u2028", "<b@a.test"]
)
async def test_no_address_ends_a_command(hostile: str) -> None:
    server = Scripted({"EHLO": UTF8})
    outcomes, _ = await _send(server, _mail(hostile, "ok@a.test"))
    assert _kinds(outcomes) == ["Failed", "Delivered"]
    assert outcomes[0].status == "5.1.3"
    assert [line for line in server.seen if line.startswith("RCPT")] == ["RCPT TO:<ok@a.test>"]
    outcomes, _ = await _send(Scripted(), _mail("ok@a.test", sender=hostile))
    assert outcomes[0].status == "5.1.7"


async def test_a_quoted_local_part_may_hold_what_others_may_not() -> None:
    server = Scripted()
    outcomes, _ = await _send(server, _mail('"b > c"@a.test'))
    assert _kinds(outcomes) == ["Delivered"]


async def test_options_cannot_end_a_command_either() -> None:
    server = Scripted({"EHLO": UTF8})
    mail = _mail("a@a.test", RET="HDRS", ENVID="x\r\nRSET", BODY="8BITMIME")
    mail.recipients[0].options = {"NOTIFY": "NEVER", "ORCPT": "rfc822;a@a.test"}
    await _send(server, mail)
    assert server.seen[1:3] == [
        "MAIL FROM:<alice@home.test> SIZE=21 BODY=8BITMIME RET=HDRS",
        "RCPT TO:<a@a.test> NOTIFY=NEVER ORCPT=rfc822;a@a.test",
    ]


async def test_smtputf8() -> None:
    outcomes, _ = await _send(Scripted(), _mail("b\u00f6b@a.test", "carol@b\u00fccher.test"))
    assert _kinds(outcomes) == ["Failed", "Delivered"]
    assert outcomes[0].status == "5.6.7"
    outcomes, _ = await _send(Scripted(), _mail("bob@a.test", sender="b\u00f6b@a.test"))
    assert outcomes[0].status == "5.6.7"
    server = Scripted({"EHLO": UTF8})
    outcomes, _ = await _send(server, _mail("b\u00f6b@a.test"))
    assert _kinds(outcomes) == ["Delivered"]
    assert server.seen[1].endswith(" SMTPUTF8")
    outcomes, _ = await _send(
        Scripted(), Mail(Envelope(""), {0: Recipient("a@a.test")}, MemoryBody(b""), utf8_header=True)
    )
    assert outcomes[0].status == "5.6.7"


class _Unreadable:
    size = 1_000_000

    def read(self) -> bytes:
        raise OSError("bad sector")

    def blocks(self, size: int = 65536) -> Iterator[bytes]:
        yield b"Subject: half\r\n\r\n"
        raise OSError("bad sector")


async def test_half_a_message_is_never_ended() -> None:
    server = Scripted({"EHLO": PLAIN})
    async with connected(server) as connection:
        await connection.greet()
        with pytest.raises(ContentError, match="bad sector"):
            await send(connection, _mail("a@a.test", body=_Unreadable()))
        assert not connection.usable
    assert server.content == []


async def test_a_server_that_does_not_read() -> None:
    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mx.test\r\n250 mx.test\r\n250 Ok\r\n250 Ok\r\n354 Go on\r\n")
        await writer.drain()
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        await done.wait()
        writer.close()

    done = asyncio.Event()
    listening = await asyncio.start_server(deaf, "127.0.0.1", 0)
    connection = Connection("mx.test", "relay.test", Timeouts(block=0.3, end=0.3))
    port = listening.sockets[0].getsockname()[1]
    await asyncio.get_running_loop().create_connection(lambda: connection, "127.0.0.1", port)
    await connection.greet()
    (outcome,) = (await send(connection, _mail("a@a.test", body=MemoryBody(b"x\r\n" * 10_000_000)))).values()
    assert outcome.text == "timed out while sending the message"
    await connection.wait_closed()
    done.set()
    listening.close()


BINARY = GOOD["EHLO"].replace("250 ENH", "250-CHUNKING\r\n250-BINARYMIME\r\n250 ENH")
OCTETS = b"X: y\r\n\r\n\0\r.\r\n\n.\r\n"


def _binary(body: bytes, *recipients: str) -> Mail:
    return replace(_mail(*recipients, body=MemoryBody(body), BODY="BINARYMIME"), binary=True)


@pytest.mark.parametrize("hello", [BINARY, BINARY.replace("250-PIPELINING\r\n", "")])
async def test_binary_content_goes_by_bdat(hello: str) -> None:
    server = Scripted({"EHLO": hello, "RCPT": ["250 Ok", "550 5.1.1 Unknown"]})
    outcomes, connection = await _send(server, _binary(OCTETS, "a@a.test", "b@a.test"))
    assert _kinds(outcomes) == ["Delivered", "Failed"]
    size = f"SIZE={len(OCTETS)} " if "SIZE" in hello else ""
    assert server.seen[1] == f"MAIL FROM:<alice@home.test> {size}BODY=BINARYMIME"
    assert server.seen[4:] == [f"BDAT {len(OCTETS)} LAST"]
    assert server.content == [OCTETS]
    assert not connection.unfinished


async def test_large_binary_content_goes_in_chunks() -> None:
    body = b"X: y\r\n\r\n" + bytes(150_000)
    server = Scripted({"EHLO": BINARY.replace("100000", "1000000")})
    outcomes, _ = await _send(server, _binary(body, "a@a.test"))
    assert _kinds(outcomes) == ["Delivered"]
    assert b"".join(server.content) == body
    assert [line.endswith(" LAST") for line in server.seen[3:]] == [False, False, True]  # of 64 KB


@pytest.mark.parametrize(("answer", "kind"), [("452 4.3.1 Full", "Deferred"), ("552 5.3.4 Large", "Failed")])
async def test_a_refused_chunk(answer: str, kind: str) -> None:
    server = Scripted({"EHLO": BINARY.replace("100000", "1000000"), "BDAT": ["250 Ok", answer]})
    async with connected(server) as connection:
        await connection.greet()
        assert _kinds(await send(connection, _binary(bytes(600_000), "a@a.test"))) == [kind]
        server.answers.pop("BDAT")
        assert _kinds(await send(connection, _binary(OCTETS, "a@a.test"))) == ["Delivered"]
        assert "RSET" in server.seen


async def test_nobody_accepted_means_no_chunk() -> None:
    server = Scripted({"EHLO": BINARY, "RCPT": "550 5.1.1 Unknown"})
    outcomes, connection = await _send(server, _binary(OCTETS, "a@a.test"))
    assert _kinds(outcomes) == ["Failed"]
    assert server.content == []
    assert connection.unfinished


@pytest.mark.parametrize("hello", [GOOD["EHLO"], BINARY.replace("250-BINARYMIME\r\n", "")])
async def test_binary_content_is_not_given_to_a_server_that_does_not_take_it(hello: str) -> None:
    server = Scripted({"EHLO": hello})
    outcomes, _ = await _send(server, _binary(OCTETS, "a@a.test"))
    assert [outcome.status for outcome in outcomes.values()] == ["5.6.3"]
    assert len(server.seen) == 1


async def test_binarymime_that_is_text_goes_by_data() -> None:
    server = Scripted()
    outcomes, _ = await _send(server, _mail("a@a.test", BODY="BINARYMIME"))
    assert _kinds(outcomes) == ["Delivered"]
    assert server.seen[1].endswith("BODY=8BITMIME")
    assert "DATA" in server.seen


async def test_the_notice_of_success_is_ours_where_the_server_gives_none() -> None:
    asked = {0: Recipient("a@a.test", {"NOTIFY": "SUCCESS"}), 1: Recipient("b@a.test", {"NOTIFY": "FAILURE"})}
    for hello, relayed in ((GOOD["EHLO"], [True, False]), (UTF8, [False, False])):
        outcomes, _ = await _send(Scripted({"EHLO": hello}), replace(_mail(), recipients=asked))
        assert [isinstance(each, Delivered) and each.relayed for each in outcomes.values()] == relayed


@pytest.mark.parametrize("hello", [GOOD["EHLO"], GOOD["EHLO"].replace("250 ENH", "250-REQUIRETLS\r\n250 ENH")])
async def test_mail_that_needs_tls_does_not_go_in_the_clear(hello: str) -> None:
    server = Scripted({"EHLO": hello})
    outcomes, _ = await _send(server, _mail("a@a.test", REQUIRETLS=""))
    assert [outcome.status for outcome in outcomes.values()] == ["5.7.30"]
    assert len(server.seen) == 1


async def test_its_bounce_goes_on_all_the_same() -> None:
    outcomes, _ = await _send(Scripted(), _mail("a@a.test", sender="", REQUIRETLS=""))
    assert _kinds(outcomes) == ["Delivered"]
