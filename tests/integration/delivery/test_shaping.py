# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts that are slow, silent or greylist, and what they do to the mail for others."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.certificates import make_certificate
from tests.ports import free_port

from .conftest import MakeRelay
from .peers import Sink, Smarthost, listens, program, wait_for

MakeSink = Callable[..., Sink]
SILENT = "127.0.2.4"


@pytest.fixture
def silent(sink: MakeSink) -> None:
    """A mail server that hangs: its kernel takes connections, and it says nothing."""
    process = sink(SILENT).process
    assert process is not None
    process.send_signal(signal.SIGSTOP)


async def test_a_host_that_never_answers_gives_way(relay: MakeRelay, sink: MakeSink, silent: None) -> None:
    mx = sink()
    sender = await relay(max_connections=1, connect_timeout="30s", retry_first="60s")
    await sender.send("x@fault.test")
    await asyncio.sleep(0.2)
    started = time.monotonic()
    await sender.send("bob@alpha.test")
    await sender.outcome("delivered")
    assert time.monotonic() - started < 20
    assert len(mx.received()) == 1
    (event,) = await sender.outcome("deferred")
    assert "other destinations" in event["reply"]
    shown = {each["name"].partition(":")[0]: each for each in sender.dispatcher.snapshot()["destinations"]}
    assert shown["fault.test"]["standing"] == "suspect"
    assert shown["fault.test"]["blocked_for"] > 0
    assert json.dumps(shown)


async def test_domains_on_the_same_hosts_share_a_rate(relay: MakeRelay, sink: MakeSink) -> None:
    mx = sink()
    rule = {"destinations": ["*.alpha.test"], "messages_per_minute": 60}
    sender = await relay(sections={"shaping": [rule]})
    begun = time.monotonic()
    for number in range(8):
        await sender.send(f"r{number}@alpha.test")
        await sender.send(f"r{number}@beta.test")
    await sender.until(lambda: len(mx.received()) >= 6, "what goes at once, and the next")
    came, seconds = len(mx.received()), time.monotonic() - begun
    assert came <= 6 + seconds


async def test_a_slow_host_takes_its_time_and_no_message_twice(relay: MakeRelay, sink: MakeSink) -> None:
    mx = sink("127.0.2.1", "-w", "1")
    sender = await relay()
    for number in range(6):
        await sender.send(f"r{number}@alpha.test")
    await sender.outcome("delivered", 6, seconds=30)
    await sender.settled()
    assert len(mx.received()) == 6


async def test_a_host_that_is_down_is_left_alone_for_longer_each_time(relay: MakeRelay) -> None:
    sender = await relay(retry_first="1s", retry_max="60s")
    await sender.send("x@dead.test")
    await sender.outcome("deferred", 3, seconds=20)
    (destination,) = sender.dispatcher._workers.destinations.values()
    assert destination.peer.pause.failures >= 2


@pytest.fixture
def greylisting(workplace: Path) -> Iterator[int]:
    """postgrey, Debian's, with a delay of two seconds."""
    port, directory = free_port(), workplace / "postgrey"
    directory.mkdir(exist_ok=True)
    shutil.chown(directory, "nobody", "nogroup")
    command = [program("postgrey"), f"--inet=127.0.0.1:{port}", f"--dbdir={directory}", "--delay=2"]
    command += ["--user=nobody", "--group=nogroup", f"--pidfile={directory}/pid", "--auto-whitelist-clients=0"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: listens("127.0.0.1", port), "postgrey", 20)
        yield port
    finally:
        process.terminate()
        process.wait()


async def test_a_real_greylisting_host(
    relay: MakeRelay, sink: MakeSink, workplace: Path, smtp_port: int, greylisting: int
) -> None:
    """A Postfix that asks postgrey about each recipient."""
    behind = sink("127.0.2.7")
    directory = workplace / "grey"
    directory.mkdir()
    directory.chmod(0o755)
    extra = "smtpd_tls_security_level = may\nsmtpd_relay_restrictions = permit_mynetworks, reject\n"
    extra += f"smtpd_recipient_restrictions = check_policy_service inet:127.0.0.1:{greylisting}\n"
    certificate = make_certificate(directory, "smart.test")
    relayhost = f"[127.0.2.7]:{smtp_port}"
    mx = Smarthost(directory, "127.0.2.5", smtp_port, free_port(), certificate, relayhost, extra=extra)
    try:
        mx.start()
        sender = await relay(retry_first="60s", retry_greylisted=["3s", "3s"])
        begun = time.time()
        await sender.send("bob@smart.test")
        (event,) = await sender.outcome("deferred")
        assert "reylist" in event["reply"], event
        assert begun + 2 < event["next_attempt"] < time.time() + 5
        await sender.outcome("delivered", seconds=20)
        await sender.until(behind.received, "the message behind the greylisting host")
    finally:
        mx.stop()
