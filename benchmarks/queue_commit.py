#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""How many messages a second the embedded queue store keeps, by how many are stored at once.

Each of the concurrent tasks stores a message, waits until it is synced, and stores the next one. With
--deliver each is also recorded as delivered, which takes it out of the queue again.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from relay_agent.queue.body import MemoryBody
from relay_agent.queue.embedded import EmbeddedStore
from relay_agent.queue.model import Envelope, Message, Recipient, Update, new_queue_id


async def run(store: EmbeddedStore, concurrent: int, body: bytes, seconds: float, deliver: bool) -> dict[str, float]:
    """Store with so many tasks for so long; messages a second and the waits of one store in milliseconds."""
    waits: list[float] = []
    numbers: Iterator[int] = count()
    end = time.perf_counter() + seconds

    async def submit() -> None:
        while (begun := time.perf_counter()) < end:
            now = time.time()
            queue_id = new_queue_id(now)
            recipient = Recipient(f"user{next(numbers)}@alpha.test", next_attempt=now)
            envelope = Envelope("sender@example.org", "alice")
            await store.store(Message(queue_id, envelope, {0: recipient}, MemoryBody(body), now, now + 432000))
            waits.append(time.perf_counter() - begun)
            if deliver:
                await store.record([Update(queue_id, 0, None)])

    begun, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(submit() for _ in range(concurrent)))
    taken, cpu = time.perf_counter() - begun, time.process_time() - cpu
    waits.sort()
    return {
        "concurrent": concurrent,
        "messages_per_second": len(waits) / taken,
        "p50_ms": waits[len(waits) // 2] * 1000,
        "p99_ms": waits[len(waits) * 99 // 100] * 1000,
        "max_ms": waits[-1] * 1000,
        "cpu_us_per_message": cpu / len(waits) * 1e6,
    }


async def main() -> int:
    """Run the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--concurrent", type=int, nargs="+", default=[1, 16, 64, 256], help="tasks at once")
    parser.add_argument("--size", type=int, default=4096, help="bytes of a body")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of each run")
    parser.add_argument("--deliver", action="store_true", help="take each message out of the queue again")
    parser.add_argument("--directory", type=Path, help="where to put the store (default: a temporary directory)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    body = os.urandom(options.size // 2).hex().encode()
    directory = Path(tempfile.mkdtemp(prefix="queue-commit-", dir=options.directory))
    rows = []
    try:
        if not options.json:
            print(f"{'at once':>8} {'msg/s':>9} {'p50 ms':>8} {'p99 ms':>8} {'max ms':>8} {'CPU us/msg':>11}")
        for concurrent in options.concurrent:
            async with EmbeddedStore(directory / str(concurrent)) as store:
                row = await run(store, concurrent, body, options.seconds, options.deliver)
            rows.append(row)
            if not options.json:
                print(
                    f"{concurrent:>8} {row['messages_per_second']:>9.0f} {row['p50_ms']:>8.2f} {row['p99_ms']:>8.2f} "
                    f"{row['max_ms']:>8.2f} {row['cpu_us_per_message']:>11.1f}"
                )
            shutil.rmtree(directory / str(concurrent))
    finally:
        shutil.rmtree(directory)
    if options.json:
        print(json.dumps(rows, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
