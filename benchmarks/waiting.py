# SPDX-License-Identifier: GPL-3.0-or-later
"""What mail that waits does to mail that does not: rows `dead-destinations`, `deferred-idle` and `fair`.

The delays are those of the agent's own log: from a message's arrival to its delivery.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import smtplib
import ssl
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.measure import ROOT, Bench
from benchmarks.rivals.agent import Agent
from benchmarks.rivals.many import address
from benchmarks.rivals.processes import cpu_seconds
from benchmarks.rivals.relay import ACCOUNT, MASS_ACCOUNT, PASSWORD, RelayError, free_ports
from benchmarks.rows import Result

__all__ = ["ROWS", "delays", "percentile"]

_BODY = b"Subject: bench\r\n\r\n" + (b"y" * 78 + b"\r\n") * 12 + b".\r\n"
_MOST_CPU = 1.0  # percent of a core
_MOST_LATER = 1.0  # seconds that a letter may take longer beside a full queue
_MOST_BEHIND = 2.0  # seconds that live mail may take longer beside dead destinations
_SENDERS = 20


def delays(log: Path, sender: str) -> list[float]:
    """Seconds from arrival to delivery of every recipient of this sender's mail."""
    found = []
    for line in log.read_text("utf-8", "replace").splitlines():
        if '"delivered"' not in line or sender not in line:
            continue
        event = json.loads(line)
        if event.get("event") == "delivered" and event.get("sender") == sender:
            found.append(float(event["delay"]))
    return found


def percentile(values: Sequence[float], share: float) -> float:
    """The value that this share of all does not exceed; 0 of none."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else 0.0


async def _submit(port: int, sender: str, recipients: Sequence[str], *, account: str = "") -> None:
    """Hand in a message for each recipient over kept connections; with an account, the port is one with TLS."""
    left = iter(recipients)
    context = _trusting() if account else None

    async def one() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        await reader.readline()
        writer.write(b"EHLO bench.test\r\n")
        while (await reader.readline())[3:4] == b"-":
            pass
        if account:
            writer.write(b"AUTH PLAIN " + b64encode(f"\0{account}\0{PASSWORD}".encode()) + b"\r\n")
            answer = await reader.readline()
            if not answer.startswith(b"235"):
                raise RelayError(f"the agent did not let {account} in: {answer.decode('ascii', 'replace').strip()}")
        for recipient in left:
            writer.write(f"MAIL FROM:<{sender}>\r\nRCPT TO:<{recipient}>\r\nDATA\r\n".encode())
            for _ in range(3):
                await reader.readline()
            writer.write(_BODY)
            answer = await reader.readline()
            if not answer.startswith(b"250"):
                raise RelayError(f"the agent took no more: {answer.decode('ascii', 'replace').strip()}")
        writer.write(b"QUIT\r\n")
        await reader.readline()
        writer.close()

    await asyncio.gather(*(one() for _ in range(_SENDERS)))


@contextmanager
def _hosts(port: int, live: int, silent: int, delay: float) -> Iterator[None]:
    command = [sys.executable, "-m", "benchmarks.rivals.many", *map(str, (port, live, silent, delay))]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        if not process.stdout.readline():
            raise RelayError("the many mail hosts did not start")
        yield
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


@contextmanager
def _names(place: Path, port: int, zone: str) -> Iterator[None]:
    """nsd with one zone, `test.`."""
    place.mkdir(exist_ok=True)
    (place / "test.zone").write_text(
        "$ORIGIN test.\n$TTL 300\n@ SOA ns hostmaster 1 60 60 60 60\n@ NS ns\nns A 127.0.0.1\n" + zone
    )
    (place / "nsd.conf").write_text(
        f'server:\n ip-address: 127.0.0.1@{port}\n username: ""\n chroot: ""\n zonesdir: "{place}"\n'
        f' pidfile: "{place}/pid"\n database: ""\n xfrdfile: "{place}/xfrd"\n xfrdir: "{place}"\n'
        f' zonelistfile: "{place}/zones"\n server-count: 1\n rrl-ratelimit: 0\nremote-control:\n control-enable: no\n'
        'zone:\n name: "test"\n zonefile: "test.zone"\n'
    )
    found = shutil.which("nsd", path="/usr/sbin:/sbin:/usr/bin")
    if found is None:
        raise RelayError("nsd is not installed: run scripts/test-packages.sh")
    process = subprocess.Popen([found, "-d", "-c", str(place / "nsd.conf")], stderr=subprocess.DEVNULL)
    try:
        time.sleep(1.0)
        if process.poll() is not None:
            raise RelayError("nsd did not start")
        yield
    finally:
        process.terminate()
        process.wait()


@contextmanager
def _agent(bench: Bench, port: int, delivery: str = "", *, routed: bool = True) -> Iterator[Agent]:
    place = bench.directory / "waiting"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    agent = Agent(place, bench.certificate, port, delivery=delivery, routed=routed, sink_address=address(10, 0))
    try:
        agent.start()
        yield agent
    finally:
        agent.stop()
        shutil.rmtree(place, ignore_errors=True)


def _wait(agent: Agent, sender: str, count: int, seconds: float) -> list[float]:
    """The delays of all `count`, or of those that arrived in time."""
    end = time.monotonic() + seconds
    while True:
        found = delays(agent.directory / "log", sender)
        if len(found) >= count or time.monotonic() > end:
            return found
        time.sleep(0.5)


def dead_destinations(bench: Bench, *, quick: bool) -> Result:
    """Live mail's p99 with half of the destinations dead or silent, against none."""
    half, each = (100, 20) if quick else (1000, 50)
    port, dns = free_ports(2)
    zone = "".join(f"l{n} A {address(10, n)}\n" for n in range(half))
    zone += "".join(f"s{n} A {address(11, n)}\nd{n} A {address(12, n)}\n" for n in range(half // 2))
    live = [f"user@l{n % half}.test" for n in range(half * each)]
    lost = [f"user@{'sd'[n % 2]}{n // 2 % (half // 2)}.test" for n in range(half * each)]
    mixed = [address for pair in zip(lost, live, strict=True) for address in pair]
    delivery = f'resolvers = ["127.0.0.1:{dns}"]\nsmtp_port = {port}\ndnssec = "off"\nmta_sts = false\n'
    p99, complete = [], True
    with _hosts(port, half, half // 2, 0.0), _names(bench.directory / "names", dns, zone):
        for dead in (False, True):
            with _agent(bench, port, delivery, routed=False) as agent:
                if dead:
                    # What is lost comes first and goes on coming; live mail is measured beside it.
                    asyncio.run(_submit(agent.ports.plain, "lost@bench.test", lost[: len(lost) // 2]))
                    both = mixed[len(mixed) // 2 :]
                    asyncio.run(_both(agent.ports.plain, both, live[: len(live) // 2]))
                else:
                    asyncio.run(_submit(agent.ports.plain, "live@bench.test", live))
                found = _wait(agent, "live@bench.test", len(live), 60 if quick else 300)
                complete &= len(found) == len(live)
                p99.append(percentile(found, 0.99))
                bench.say(f"dead-destinations: {'half dead' if dead else 'none dead'}, p99 {p99[-1]:.2f} s")
    later = p99[1] - p99[0]
    why = f"p99 {p99[0]:.2f} s with none dead, {p99[1]:.2f} s with half" + ("" if complete else "; not all arrived")
    met = complete and later <= _MOST_BEHIND
    title = f"{2 * half:,} destinations, half dead or silent: live mail later by (p99)"
    return Result("dead-destinations", title, "s", max(later, 0.0), 0, 0, f"<= {_MOST_BEHIND:g} s", met, why)


async def _both(port: int, mixed: Sequence[str], live: Sequence[str]) -> None:
    lost = [each for each in mixed if "@l" not in each]
    more = [each for each in mixed if "@l" in each]
    await asyncio.gather(_submit(port, "lost@bench.test", lost), _submit(port, "live@bench.test", [*live, *more]))


def deferred_idle(bench: Bench, *, quick: bool) -> Result:
    """Processor time with many deferred messages of which none is due."""
    count, seconds = (10_000, 10.0) if quick else (100_000, 60.0)
    place = bench.directory / "deferred"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    agent = Agent(place, bench.certificate, free_ports(1)[0])
    bench.fill(agent.queue, count)
    try:
        agent.start()
        time.sleep(5.0)
        before = cpu_seconds(agent.pid)
        time.sleep(seconds)
        used = (cpu_seconds(agent.pid) - before) / seconds * 100
    finally:
        agent.stop()
        shutil.rmtree(place, ignore_errors=True)
    bench.say(f"deferred-idle: {used:.2f} % of a core")
    title = f"{count:,} deferred, none due: processor time"
    return Result("deferred-idle", title, "%", used, 0, 0, f"< {_MOST_CPU:g} %", used < _MOST_CPU)


def fair(bench: Bench, *, quick: bool) -> Result:
    """How much longer a letter takes while another account's mass mailing waits for the same host."""
    count, letters = (10_000, 10) if quick else (100_000, 50)
    (port,) = free_ports(1)
    slowest: list[float] = []
    left = 0
    with _hosts(port, 1, 0, 0.05):
        for many in (0, count):
            with _agent(bench, port) as agent:
                mass = ["many@bench.test"] * many
                asyncio.run(_submit(agent.ports.implicit, "news@bench.test", mass, account=MASS_ACCOUNT))
                for _ in range(letters):
                    _letter(agent)
                    time.sleep(0.2)
                left = many - len(delays(agent.directory / "log", "news@bench.test"))
                found = _wait(agent, "letter@bench.test", letters, 60)
                slowest.append(max(found) if len(found) == letters else 60.0)
                bench.say(f"fair: {slowest[-1]:.2f} s at most with {left:,} left of {many:,}")
    later = slowest[1] - slowest[0]
    why = f"the slowest of {letters}: {slowest[0]:.2f} s with none queued, {slowest[1]:.2f} s with {left:,} left"
    # Without a queue to the end there was nothing to wait behind.
    met = later < _MOST_LATER and left > count // 2
    title = f"one account has {count:,} queued, another's letter later by"
    return Result("fair", title, "s", max(later, 0.0), 0, 0, f"< {_MOST_LATER:g} s", met, why)


def _trusting() -> ssl.SSLContext:
    """For the certificate of this run, which nobody signed."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _letter(agent: Agent) -> None:
    with smtplib.SMTP_SSL("127.0.0.1", agent.ports.implicit, context=_trusting(), timeout=60) as session:
        session.login(ACCOUNT, PASSWORD)
        session.sendmail("letter@bench.test", ["one@bench.test"], _BODY[:-3])


ROWS: dict[str, Callable[..., Result]] = {
    "dead-destinations": dead_destinations,
    "deferred-idle": deferred_idle,
    "fair": fair,
}
