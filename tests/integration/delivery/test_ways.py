# SPDX-License-Identifier: GPL-3.0-or-later
"""Which host a message goes to: MX records, addresses, and what there is no way to."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from .conftest import MakeRelay
from .peers import Sink

MakeSink = Callable[..., Sink]


@pytest.mark.parametrize(
    "domain",
    ["alpha.test", "plain.test", "families.test", "ALPHA.Test", "b\u00fccher.test", "[127.0.2.1]", "backup.test"],
)
async def test_a_message_arrives(relay: MakeRelay, sink: MakeSink, domain: str) -> None:
    mx = sink()
    sender = await relay()
    await sender.send(f"bob@{domain}")
    (event,) = await sender.outcome("delivered")
    assert event["status"] == "2.0.0"
    (received,) = mx.received()
    assert received.sender.startswith("<alice@home.test>")
    assert received.content.replace(b"\r\n", b"\n") == b"Subject: hello\n\nHello.\n"
    await sender.settled()
    assert (await sender.store.counts()).messages == 0


async def test_over_ipv6(relay: MakeRelay, sink: MakeSink) -> None:
    mx = sink("::1")
    sender = await relay()
    await sender.send("bob@six.test")
    await sender.outcome("delivered")
    assert len(mx.received()) == 1


@pytest.mark.parametrize(
    ("domain", "status"),
    [
        ("nowhere.test", "5.1.2"),
        ("nullmx.test", "5.1.10"),
        ("circle.test", "5.4.6"),
        ("noaddress.test", "5.4.4"),
        ("empty.test", "5.1.2"),
        ("[127.0.2.300]", "5.1.2"),
    ],
)
async def test_no_way_at_all_is_a_failure_and_a_bounce(
    relay: MakeRelay, sink: MakeSink, domain: str, status: str
) -> None:
    mx = sink()
    sender = await relay()
    await sender.send(f"bob@{domain}", sender="alice@alpha.test")
    (failed,) = await sender.outcome("failed")
    assert failed["status"] == status
    await sender.outcome("delivered")
    (bounce,) = mx.received()
    assert bounce.sender.startswith("<>")
    assert bounce.recipients == ("<alice@alpha.test>",)
    assert bounce.parsed.get_content_type() == "multipart/report"
    await sender.settled()
    assert (await sender.store.counts()).messages == 0


@pytest.mark.parametrize("domain", ["mail.broken", "elsewhere.example"])
async def test_dns_without_answer_defers(relay: MakeRelay, domain: str) -> None:
    """`broken` is a zone that the server cannot load (SERVFAIL); for other names it answers REFUSED."""
    sender = await relay()
    message = await sender.send(f"bob@{domain}")
    (event,) = await sender.outcome("deferred")
    assert event["status"] == "4.4.3"
    await sender.settled()
    kept = await sender.store.get(message.queue_id)
    assert kept is not None
    assert kept.recipients[0].last_status == "4.4.3"
    assert kept.recipients[0].attempts == 1


async def test_a_silent_name_server_defers(relay: MakeRelay) -> None:
    sender = await relay(resolvers=["127.0.0.1:9"])
    await sender.send("bob@alpha.test")
    (event,) = await sender.outcome("deferred", seconds=30)
    assert event["status"] == "4.4.3"


async def test_the_second_mx_takes_what_the_first_does_not(relay: MakeRelay, sink: MakeSink) -> None:
    second = sink("127.0.2.3")
    sender = await relay()
    for _ in range(3):
        await sender.send("bob@two.test")
    await sender.outcome("delivered", 3)
    assert len(second.received()) == 3
    assert sender.events.named("connection_trouble")[0]["host"].startswith("first.two.test")
    assert not sender.events.named("deferred")


async def test_nothing_listens_then_it_is_back(relay: MakeRelay, sink: MakeSink) -> None:
    sender = await relay()
    await sender.send("bob@alpha.test")
    (event,) = await sender.outcome("deferred")
    assert event["status"] == "4.4.1"
    assert "refused" in event["reply"]
    (shown,) = sender.dispatcher.snapshot()["destinations"]
    assert "refused" in shown["last_error"]
    mx = sink()
    await sender.outcome("delivered")
    assert len(mx.received()) == 1


async def test_domains_with_the_same_mx_share_a_transaction(relay: MakeRelay, sink: MakeSink) -> None:
    mx = sink()
    sender = await relay()
    await sender.send("bob@alpha.test", "carol@beta.test")
    await sender.outcome("delivered", 2)
    # The first look-up may answer before the second: known ways certainly share.
    await sender.send("bob@alpha.test", "carol@beta.test", content=b"Subject: two\r\n\r\n")
    await sender.outcome("delivered", 4)
    last = next(each for each in mx.received() if each.parsed["Subject"] == "two")
    assert last.recipients == ("<bob@alpha.test>", "<carol@beta.test>")
