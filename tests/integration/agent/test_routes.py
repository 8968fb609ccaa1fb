# SPDX-License-Identifier: GPL-3.0-or-later
"""Routes of a running agent: what its status says of upstream relays, and a reload that changes the way."""

from __future__ import annotations

import json
import signal

import pytest

from tests.ports import free_port

from .conftest import Agent, Sink, wait_for
from .test_resumption import workers


def test_deferred_mail_takes_the_route_that_a_reload_brings(agent: Agent, sink: Sink) -> None:
    sink.start()
    dead = free_port()
    good = agent.config.read_text()
    agent.config.write_text(good.replace(f"port = {sink.port}", f"port = {dead}"))
    agent.start()
    queue_id = agent.submit("one")
    wait_for(lambda: bool(agent.events("deferred")), what="the deferral")
    status = agent.command("status", "--config", str(agent.config), "--json")
    (upstream,) = json.loads(status.stdout)["delivery"]["upstreams"]
    assert (upstream["name"], upstream["state"], upstream["cause"]) == (f"127.0.0.1:{dead}", "rests", "connection")
    shown = agent.command("status", "--config", str(agent.config)).stdout
    assert f"127.0.0.1:{dead}" in shown
    assert "tried last" in shown
    agent.config.write_text(good)
    agent.signal(signal.SIGHUP)
    wait_for(lambda: bool(agent.events("delivered")), 30, what="the delivery")
    (event,) = agent.events("delivered")
    assert event["queue_id"] == queue_id
    assert len(sink.messages()) == 1


@pytest.mark.parametrize("limited", ["", 'senders = ["news.test"]'], ids=["open-to-all", "of-one-sender"])
def test_status_tells_in_words_that_port_25_is_closed(agent: Agent, sink: Sink, limited: str) -> None:
    sink.start()
    text = agent.config.read_text()
    text = text.replace('domains = ["*"]', f'domains = ["routed.test"]\n{limited}')
    # Nobody listens there.
    looks = f'port25_check = ["127.0.0.1"]\nsmtp_port = {free_port()}'
    agent.config.write_text(text.replace("port25_check = []", looks))
    agent.start()
    words = [
        f"mail for MX hosts goes through 127.0.0.1:{sink.port}",
        "mail for MX hosts waits; have the provider open it",
    ]

    def shown() -> str:
        return agent.command("status", "--config", str(agent.config)).stdout

    wait_for(lambda: f"port 25 to the outside: closed; {words[bool(limited)]}" in shown(), 20, what="the words")
    assert words[not limited] not in shown()
    agent.submit("one", recipients=("bob@[127.0.0.1]",))
    if limited:
        wait_for(lambda: bool(agent.events("deferred")), what="the deferral")
        assert not sink.messages()
    else:
        wait_for(lambda: bool(agent.events("delivered")), what="the delivery through the pool")
        assert len(sink.messages()) == 1


def test_a_pool_with_a_dead_member_defers_nothing(agent: Agent, sink: Sink) -> None:
    sink.start()
    hop = f'{{ host = "127.0.0.1", port = {sink.port}, tls = "none" }}'
    text = agent.config.read_text()
    assert hop in text
    agent.config.write_text(text.replace(hop, f"{hop.replace(str(sink.port), str(free_port()))}, {hop}"))
    agent.start()
    for _ in range(5):
        agent.submit("one")
    wait_for(lambda: len(agent.events("delivered")) == 5, what="the deliveries")
    assert not agent.events("deferred")
    # Each worker that had mail has seen it for itself, and only once.
    assert 1 <= len(agent.events("host_rests")) <= len(workers(agent))
