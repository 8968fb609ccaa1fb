# SPDX-License-Identifier: GPL-3.0-or-later
"""What the other side may do to us: smtp-sink with its faults at each command."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from relay_agent.delivery.client import Timeouts
from relay_agent.queue.body import FileBody

from .conftest import MakeRelay
from .peers import Sink

MakeSink = Callable[..., Sink]
FAULT = "127.0.2.4"


# Where it refuses, smtp-sink does not announce PIPELINING: scripted dialogues in tests/unit have those.
@pytest.mark.parametrize("command", ["CONNECT", "EHLO", "MAIL", "RCPT", "DATA", "."])
async def test_refused_softly_is_deferred_and_tried_again(relay: MakeRelay, sink: MakeSink, command: str) -> None:
    refusing = sink(FAULT, "-r", command)
    sender = await relay()
    await sender.send("bob@fault.test")
    (event,) = await sender.outcome("deferred")
    assert event["status"].startswith("4.")
    assert event["reply"].startswith("450")
    refusing.stop()
    mx = sink(FAULT)
    await sender.outcome("delivered")
    assert len(mx.received()) == 1
    await sender.settled()
    assert (await sender.store.counts()).messages == 0


@pytest.mark.parametrize("command", ["MAIL", "RCPT", "DATA", "."])
async def test_refused_for_good_bounces(relay: MakeRelay, sink: MakeSink, command: str) -> None:
    sink(FAULT, "-f", command)
    home = sink()
    sender = await relay()
    await sender.send("bob@fault.test", "carol@fault.test", sender="alice@alpha.test")
    events = await sender.outcome("failed", 2)
    assert {event["status"][0] for event in events} == {"5"}
    await sender.outcome("delivered")
    (bounce,) = home.received()
    report = list(bounce.parsed.walk())
    assert [part["Final-Recipient"] for part in report if part["Final-Recipient"]] == [
        "rfc822; bob@fault.test",
        "rfc822; carol@fault.test",
    ]
    await sender.settled()
    assert (await sender.store.counts()).messages == 0


@pytest.mark.parametrize("option", ["-q", "-Q"])
@pytest.mark.parametrize("command", ["CONNECT", "EHLO", "MAIL", "RCPT", "DATA", "."])
async def test_cut_off_is_deferred(relay: MakeRelay, sink: MakeSink, command: str, option: str) -> None:
    sink(FAULT, option, command)
    sender = await relay()
    message = await sender.send("bob@fault.test")
    (event,) = await sender.outcome("deferred")
    assert event["status"].startswith("4.")
    if command == "." and option == "-q":
        assert "second copy is possible" in event["reply"]
    elif option == "-Q":
        assert event["reply"].startswith("421")
    await sender.settled()
    kept = await sender.store.get(message.queue_id)
    assert kept is not None
    assert kept.recipients[0].next_attempt > time.time()


@pytest.mark.parametrize("command", ["CONNECT", "EHLO,HELO"])
async def test_a_host_that_refuses_us_for_good_is_tried_again(relay: MakeRelay, sink: MakeSink, command: str) -> None:
    """What it says before it has heard of any mail is about us or itself, and no reason to give the mail back."""
    refusing = sink(FAULT, "-f", command)
    sender = await relay()
    await sender.send("bob@fault.test")
    (event,) = await sender.outcome("deferred")
    assert event["status"].startswith("4.")
    assert event["reply"].startswith("500")
    refusing.stop()
    sink(FAULT)
    await sender.outcome("delivered")
    assert not sender.events.named("failed")


@pytest.mark.parametrize("options", [("-e", "-f"), ("-f",)])
async def test_ehlo_refused_is_helo(relay: MakeRelay, sink: MakeSink, options: tuple[str, ...]) -> None:
    old = sink(FAULT, *options, "EHLO")
    sender = await relay()
    await sender.send("bob@fault.test")
    await sender.outcome("delivered")
    assert len(old.received()) == 1


async def test_refusal_in_the_middle_of_the_content(relay: MakeRelay, sink: MakeSink) -> None:
    """-A: 550 while we are still sending."""
    sink(FAULT, "-A", "0")
    sender = await relay()
    await sender.send(
        "bob@fault.test", sender="", content=b"Subject: big\r\n\r\n" + b"x" * 70 * 1000 + b"\r\n" * 100_000
    )
    (event,) = await sender.outcome("failed")
    assert event["reply"].startswith("550")


@pytest.mark.parametrize(("pipelining", "stage"), [("", "MAIL"), ("-p", "DATA")])
async def test_a_server_that_never_answers(relay: MakeRelay, sink: MakeSink, pipelining: str, stage: str) -> None:
    """It waits before it answers DATA, and with it the replies that pipelining put before that."""
    sink(FAULT, "-w", "30", *filter(None, [pipelining]))
    sender = await relay(timeouts=Timeouts(mail=2.0, rcpt=2.0, data=2.0))
    await sender.send("bob@fault.test")
    (event,) = await sender.outcome("deferred")
    assert event["reply"] == f"timed out in reply to {stage}"
    assert event["status"] == "4.4.2"


async def test_a_dead_destination_costs_one_attempt_and_no_one_else_time(relay: MakeRelay, sink: MakeSink) -> None:
    mx = sink()
    sender = await relay(retry_first=60)
    for number in range(20):
        await sender.send(f"bob{number}@dead.test")
    started = time.monotonic()
    await sender.send("bob@alpha.test")
    await sender.outcome("delivered")
    assert time.monotonic() - started < 10
    await sender.outcome("deferred", 20)
    assert len(sender.events.named("connection_trouble")) <= 2
    assert len(mx.received()) == 1
    await sender.settled()


async def test_what_cannot_be_delivered_in_time_comes_back(relay: MakeRelay, sink: MakeSink) -> None:
    home = sink()
    sender = await relay()
    await sender.send("bob@dead.test", sender="alice@alpha.test", expires_in=1.5)
    (failed,) = await sender.outcome("failed")
    assert failed["status"] == "4.4.7"
    assert failed["attempt"] >= 2
    assert "gave up after" in failed["reply"]
    assert "connection refused" in failed["reply"]
    await sender.outcome("delivered")
    (bounce,) = home.received()
    assert "4.4.7" in [part["Status"] for part in bounce.parsed.walk()]


async def test_never_a_bounce_to_a_bounce(relay: MakeRelay) -> None:
    sender = await relay()
    await sender.send("bob@nowhere.test", sender="")
    await sender.outcome("failed")
    await sender.outcome("dropped")
    await sender.settled()
    assert not sender.events.named("bounced")
    assert (await sender.store.counts()).messages == 0


async def test_connections_are_reused(relay: MakeRelay, sink: MakeSink) -> None:
    mx = sink()
    sender = await relay()
    for number in range(50):
        await sender.send("bob@alpha.test", content=b"Subject: %d\r\n\r\nbody\r\n" % number)
    await sender.outcome("delivered", 50)
    assert len({each.parsed["Subject"] for each in mx.received()}) == 50
    assert len(sender.events.named("connected")) <= 10


async def test_dots_and_large_content(relay: MakeRelay, sink: MakeSink) -> None:
    mx = sink()
    line = b".dot\r\n..two\r\n.\r\n" + b"x" * 77 + b"\r\n"
    content = b"Subject: large\r\n\r\n" + line * 40_000
    sender = await relay()
    spooled = sender.store.spool_directory() / "in-large"
    spooled.write_bytes(content)
    await sender.send("bob@alpha.test", content=FileBody(spooled, len(content)))
    await sender.send("bob@alpha.test", content=b".\r\n..\r\n.")
    await sender.outcome("delivered", 2)
    small, large = sorted((each.content for each in mx.received()), key=len)
    assert large == content.replace(b"\r\n", b"\n")
    assert small == b".\n..\n.\n"


async def test_more_recipients_than_one_transaction_takes(relay: MakeRelay, sink: MakeSink) -> None:
    mx = sink()
    sender = await relay()
    await sender.send(*(f"r{number}@alpha.test" for number in range(250)))
    await sender.outcome("delivered", 250)
    assert sorted(len(each.recipients) for each in mx.received()) == [50, 100, 100]


async def test_mail_waits_over_a_restart(relay: MakeRelay, sink: MakeSink) -> None:
    sender = await relay(retry_first=1)
    await sender.send("bob@alpha.test", "carol@nowhere.test", sender="")
    await sender.outcome("deferred")
    await sender.settled()
    await sender.dispatcher.stop(1)
    assert (await sender.store.counts()).recipients == 1
    mx = sink()
    await sender.dispatcher.start()
    await sender.outcome("delivered")
    assert [each.recipients for each in mx.received()] == [("<bob@alpha.test>",)]


async def test_more_than_fits_into_memory_waits_in_the_queue(relay: MakeRelay, sink: MakeSink) -> None:
    mx = sink()
    sender = await relay()
    sender.dispatcher._loader._room = 5
    for _ in range(60):
        await sender.send("bob@alpha.test")
    await sender.outcome("delivered", 60)
    await sender.settled()
    assert len(mx.received()) == 60
    assert (await sender.store.counts()).messages == 0
