# SPDX-License-Identifier: GPL-3.0-or-later
"""Mail programs that submit without a pause, and remember what they were answered."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections import Counter
from pathlib import Path

__all__ = ["RECORDED_WITHIN", "Arrivals", "Load", "RefusedError"]

# What became of a message is written in the loop's turn that has the reply, or behind a sync that is under way: it
# survives the process from then on. That takes milliseconds; the rest is for a machine that stalls.
RECORDED_WITHIN = 1.0  # seconds from an arrival
_UNDER_WAY = 0.5  # seconds in which what the kernel had of a process that is dead may still arrive
_TOKEN = re.compile(rb"token-(\w+)-end")


class RefusedError(Exception):
    """A reply that is not the wanted one."""


class Load:
    """Clients in a thread of their own.

    acknowledged: token of each message that got its 250, with the time. refused: those that got another reply.
    unanswered: those whose connection was lost before the reply. failures: each session that did not go well.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self.acknowledged: dict[str, float] = {}
        self.refused: set[str] = set()
        self.unanswered: set[str] = set()
        self.failures: Counter[str] = Counter()
        self.sessions = 0
        self.waits: list[float] = []
        self._stopped = threading.Event()
        self._cut_short = False
        self._thread: threading.Thread | None = None

    def start(self, clients: int = 6, *, messages: int = 5, size: int = 2000, pause: float = 0.0) -> None:
        """Begin: so many clients at once, so many messages in each session, seconds between two messages."""
        self._pause = pause

        async def run() -> None:
            await asyncio.gather(*(self._client(number, messages, size) for number in range(clients)))

        self._thread = threading.Thread(target=lambda: asyncio.run(run()))
        self._thread.start()

    def stop(self, *, cut_short: bool = False) -> None:
        """End after the sessions that are under way; cut_short: after their messages, with QUIT."""
        self._cut_short = cut_short
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    async def _client(self, number: int, messages: int, size: int) -> None:
        count = 0
        while not self._stopped.is_set():
            self.sessions += 1
            token = ""
            try:
                reader, writer = await asyncio.wait_for(asyncio.open_connection("127.0.0.1", self.port), 20)
                try:
                    await _ask(reader, writer, None, "220")
                    await _ask(reader, writer, "EHLO load.test", "250")
                    for _ in range(messages):
                        token = f"{number}x{count}"
                        count += 1
                        await self._message(reader, writer, token, size)
                        token = ""
                        if self._cut_short and self._stopped.is_set():
                            break
                        if self._pause:
                            await asyncio.sleep(self._pause)
                    await _ask(reader, writer, "QUIT", "221")
                finally:
                    writer.transport.abort()
            except RefusedError as error:
                self.refused.add(token)
                self.failures[f"reply {str(error)[:60]}"] += 1
                await asyncio.sleep(0.05)
            except (OSError, EOFError, TimeoutError) as error:
                if token:
                    self.unanswered.add(token)
                self.failures[type(error).__name__] += 1
                await asyncio.sleep(0.05)

    async def _message(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, token: str, size: int) -> None:
        begun = time.monotonic()
        await _ask(reader, writer, "MAIL FROM:<alice@alpha.test>", "250")
        await _ask(reader, writer, "RCPT TO:<bob@beta.test>", "250")
        await _ask(reader, writer, "DATA", "354")
        body = f"From: alice@alpha.test\r\nSubject: load\r\n\r\ntoken-{token}-end\r\n" + "x" * size
        await _ask(reader, writer, f"{body}\r\n.", "250")
        self.acknowledged[token] = time.time()
        self.waits.append(time.monotonic() - begun)

    def p99(self) -> float:
        """Seconds that the slowest hundredth of the messages took, from MAIL to the 250."""
        ordered = sorted(self.waits)
        return ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)]


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, line: str | None, wanted: str) -> None:
    if line is not None:
        writer.write(f"{line}\r\n".encode())
    while True:
        reply = await asyncio.wait_for(reader.readline(), 30)
        if not reply:
            raise EOFError
        if reply[3:4] != b"-":
            break
    if not reply.startswith(wanted.encode()):
        raise RefusedError(reply.decode().strip())


class Arrivals:
    """What the sink has written: when each token came, as often as it came."""

    def __init__(self, directory: Path) -> None:
        self.times: dict[str, list[float]] = {}
        for path in directory.iterdir():
            found = _TOKEN.search(path.read_bytes())
            if found:
                self.times.setdefault(found[1].decode(), []).append(path.stat().st_mtime)

    @property
    def duplicates(self) -> dict[str, list[float]]:
        """Tokens that came more than once."""
        return {token: times for token, times in self.times.items() if len(times) > 1}

    def check(self, load: Load, deaths: list[float]) -> str:
        """Nothing that was acknowledged is missing, nothing refused has come, and whatever came twice had just come
        when a worker died, before its outcome was recorded. Returns the figures in words.

        deaths: when workers ended without being told to, seconds since the epoch; with so much time between two that
        most of it is near none.
        """
        missing = [token for token in load.acknowledged if token not in self.times]
        assert missing == [], f"{len(missing)} of {len(load.acknowledged)} acknowledged messages are missing"
        assert not [token for token in load.refused if token in self.times], "a refused message was delivered"
        known = load.acknowledged.keys() | load.unanswered
        assert not [token for token in self.times if token not in known], "a message came that nobody sent"
        for token, times in self.duplicates.items():
            first = min(times)
            near = [death for death in deaths if -_UNDER_WAY <= death - first <= RECORDED_WITHIN]
            assert near, f"{token} came at {times}: twice without a reason; workers died at {deaths}"
        return (
            f"{len(load.acknowledged)} acknowledged, 0 lost, {len(self.duplicates)} delivered twice, "
            f"{len(load.unanswered)} without an answer"
        )
