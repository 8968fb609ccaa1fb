# SPDX-License-Identifier: GPL-3.0-or-later
"""What the history costs: on a message's way, in its thread, and on the disk.

    python -m benchmarks.history_cost [MESSAGES]

Each message is an `accepted` and a `delivered` event, as the agent logs them. The way is what the event loop's thread
spends on both, with and without the history; the thread's time is on another core where there is one.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

from relay_agent.history.segments import segments
from relay_agent.history.writer import HistoryWriter
from relay_agent.observability import measured
from relay_agent.observability.log import MailLog
from relay_agent.queue.model import new_queue_id

__all__ = ["main"]

_BURST = 500  # messages between two writes of the log


def main(messages: int = 50_000) -> None:
    """Print what it costs for so many messages, in microseconds and bytes for each."""
    with Path(os.devnull).open("w") as nowhere, tempfile.TemporaryDirectory(prefix="postroad-history-") as name:
        log = MailLog(nowhere, text=False)
        without = _run(log, messages)
        writer = HistoryWriter(Path(name) / "history", keep=86_400, max_size=1 << 40, minimum_free=0)
        log.history = writer.put
        begun = time.process_time()
        with_it = _run(log, messages)
        writer.close()
        whole = time.process_time() - begun
        bytes_kept = sum(each.size() for each in segments(Path(name) / "history"))
        print(f"{messages} messages, two events each")
        print(f"  on the way, without the history  {without / messages * 1e6:6.1f} us a message")
        print(f"  on the way, with it              {with_it / messages * 1e6:6.1f} us a message")
        print(f"  in its thread                    {(whole - with_it) / messages * 1e6:6.1f} us a message")
        print(f"  on the disk                      {bytes_kept / messages:6.0f} bytes a message")
        print(f"  events                           {dict(measured.HISTORY_EVENTS)}")


def _run(log: MailLog, messages: int) -> float:
    """Log so many messages; seconds of this thread's processor time."""
    ids = [new_queue_id() for _ in range(messages)]
    spent = 0.0
    for start in range(0, messages, _BURST):
        begun = time.thread_time()
        for number, queue_id in enumerate(ids[start : start + _BURST], start):
            recipient = f"user{number}@example.net"
            log.message_event(
                "accepted",
                {"to": [recipient]},
                queue_id=queue_id,
                account="alice@example.org",
                peer="192.0.2.1",
                port=587,
                tls=True,
                sender="alice@example.org",
                recipients=1,
                size=4096,
                message_id=f"<{number}.{queue_id}@example.org>",
                held_until=None,
            )
            log.event(
                "delivered",
                queue_id=queue_id,
                sender="alice@example.org",
                recipient=recipient,
                host="mx.example.net",
                status="2.0.0",
                reply="250 2.0.0 Ok: queued as 4XyZ1234567",
                attempt=1,
                seconds=0.012,
                delay=0.034,
                next_attempt=None,
                held=None,
            )
        log.flush()
        spent += time.thread_time() - begun
        time.sleep(0.01)
    return spent


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
