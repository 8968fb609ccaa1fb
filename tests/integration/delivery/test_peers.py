# SPDX-License-Identifier: GPL-3.0-or-later
"""What the counterparts report is what came in."""

from __future__ import annotations

import socket
from collections.abc import Callable

from .peers import Sink, wait_for


def test_a_message_has_come_in_when_all_of_it_has(sink: Callable[..., Sink]) -> None:
    taker = sink()
    with socket.create_connection((taker.address, taker.port), timeout=10) as client, client.makefile("rb") as replies:
        replies.readline()
        for line in (b"HELO here", b"MAIL FROM:<a@test>", b"RCPT TO:<b@test>", b"DATA"):
            client.sendall(line + b"\r\n")
            replies.readline()
        client.sendall(b"Subject: half\r\n\r\n" + b"x" * 70 + b"\r\n" * 10_000)
        wait_for(lambda: any(file.stat().st_size for file in taker.directory.iterdir()), "the first blocks")
        assert taker.received() == []
        client.sendall(b"last\r\n.\r\n")
        assert replies.readline().startswith(b"250")
    wait_for(taker.received, "the message")
    assert taker.received()[0].content.endswith(b"\nlast\n")
    taker.stop()
    assert len(taker.received()) == 1
