# SPDX-License-Identifier: GPL-3.0-or-later
"""Run by the supervisor as ``python -m relay_agent.worker FD``.

The descriptor is the worker's end of their channel, over which it is told everything else: the configuration, the
listening sockets, which store to open, when to stop.
"""

from __future__ import annotations

import asyncio.sslproto
import os
import socket
import sys

from relay_agent import event_loop
from relay_agent.observability.log import MailLog, route_standard_logging
from relay_agent.worker.worker import Worker

_TLS_RECORD = 16_384  # bytes


def main(arguments: list[str]) -> int:
    """Work for the supervisor at the other end of this descriptor; returns the exit status."""
    # The buffers of a TLS connection: 256 KiB each by default, most of it never touched by mail. One record is enough.
    asyncio.sslproto.SSLProtocol.max_size = _TLS_RECORD
    log = MailLog()
    route_standard_logging(log)
    end = socket.socket(fileno=int(arguments[0]))
    os.set_inheritable(end.fileno(), False)

    async def run() -> int:
        return await Worker(end, log).run()

    return event_loop.run(run())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
