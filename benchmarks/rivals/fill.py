# SPDX-License-Identifier: GPL-3.0-or-later
"""`python -m benchmarks.rivals.fill DIRECTORY COUNT SIZE`: fill the agent's queue with mail that is due tomorrow.

By the store's own code, as if each message had been accepted and put off once; no agent may be running on it.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

from relay_agent.queue.body import MemoryBody
from relay_agent.queue.embedded import EmbeddedStore
from relay_agent.queue.model import Envelope, Message, Recipient, new_queue_id

__all__ = ["fill"]

_AT_ONCE = 2000


async def fill(directory: Path, count: int, size: int) -> None:
    """Store `count` messages of `size` bytes, to a thousand domains."""
    now = time.time()
    body = MemoryBody((b"Subject: queued\r\n\r\n" + b"x" * 70 + b"\r\n") + (b"y" * 78 + b"\r\n") * ((size - 91) // 80))
    envelope = Envelope("alice@alpha.test", account="alice")
    async with EmbeddedStore(directory) as store:
        for start in range(0, count, _AT_ONCE):
            await asyncio.gather(
                *(
                    store.store(
                        Message(
                            queue_id=new_queue_id(now - 3600 + number / 1000),
                            envelope=envelope,
                            recipients={
                                0: Recipient(
                                    f"user{number}@d{number % 1000}.bench.test",
                                    attempts=1,
                                    last_attempt=now,
                                    next_attempt=now + 86400 + number / 100,
                                    last_status="4.4.1",
                                    last_reply="Connection timed out",
                                )
                            },
                            body=body,
                            created=now - 3600,
                            expires=now + 5 * 86400,
                        )
                    )
                    for number in range(start, min(start + _AT_ONCE, count))
                )
            )


def main() -> int:
    """See the module's docstring."""
    directory, count, size = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    directory.mkdir(parents=True, exist_ok=True)
    asyncio.run(fill(directory, count, size))
    return 0


if __name__ == "__main__":
    sys.exit(main())
