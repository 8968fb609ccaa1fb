# SPDX-License-Identifier: GPL-3.0-or-later
"""Stores, delivers and defers under load until it is killed, and says what was acknowledged.

Prints a line for each acknowledged fact, only after the store returned: `stored ID SIZE SHA256` and
`done ID` (all recipients recorded as delivered, see `JournaledStore.record`); `doing ID` before that is asked for.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import sys
import time
from dataclasses import replace
from pathlib import Path

from relay_agent.queue.body import Spool
from relay_agent.queue.journaled import JournaledStore
from relay_agent.queue.model import Envelope, Message, Recipient, Update, new_queue_id


def say(line: str) -> None:
    """One write(2): a line is either there or not."""
    os.write(1, f"{line}\n".encode())


async def submit(store: JournaledStore) -> None:
    """One session: message after message; every second one is delivered at once."""
    while True:
        now = time.time()
        queue_id = new_queue_id(now)
        size = random.choice([100, 4096, 4096, 20_000, 400_000])
        content = os.urandom(1024) * (size // 1024 + 1)
        spool = Spool(store.spool_directory(), threshold=100_000)
        for start in range(0, len(content), 50_000):
            spool.write(content[start : start + 50_000])
        head = f"Received: by relay; {queue_id}\r\n".encode()
        recipients = {n: Recipient(f"r{n}@alpha.test", next_attempt=now) for n in range(random.choice([1, 1, 3]))}
        body = spool.finish(head)
        await store.store(Message(queue_id, Envelope("a@x"), recipients, body, now, now + 1000))
        say(f"stored {queue_id} {len(head) + len(content)} {hashlib.sha256(head + content).hexdigest()}")
        outcome = random.random()
        if outcome < 0.5:
            say(f"doing {queue_id}")
            for number in recipients:
                await store.record([Update(queue_id, number, None)])
            say(f"done {queue_id}")
        elif outcome < 0.8:
            later = replace(recipients[0], attempts=1, next_attempt=now + 60, last_reply="busy")
            await store.record([Update(queue_id, 0, later)])
            say(f"deferred {queue_id}")


async def main() -> None:
    """Sixteen sessions at once."""
    store = JournaledStore(Path(sys.argv[1]))
    say("open")
    await asyncio.gather(*(submit(store) for _ in range(16)))


if __name__ == "__main__":
    asyncio.run(main())
