# SPDX-License-Identifier: GPL-3.0-or-later
"""A site's side of on-demand mail relay (RFC 2645): signs in, says ATRN, and has a real SMTP server answer.

Debian's one client, fetchmail, signs in by CRAM-MD5 alone, for which a server has to keep passwords in the clear; the
agent does not. This one does what fetchmail does after that: it joins the two connections.
"""

from __future__ import annotations

import base64
import selectors
import socket
import ssl
from collections.abc import Callable
from types import TracebackType

__all__ = ["Site"]


class Site:
    """A signed-in connection to the relay. context: with TLS from the first byte; None: in the clear."""

    def __init__(self, port: int, account: str, password: str, context: ssl.SSLContext | None) -> None:
        plain = socket.create_connection(("127.0.0.1", port), 20)
        self.socket: socket.socket = context.wrap_socket(plain, server_hostname="relay.test") if context else plain
        self._unread = b""
        assert self.reply()[-1].startswith("220 ")
        self.extensions = {line[4:].split(" ")[0] for line in self.ask("EHLO site.test")[1:]}
        token = base64.b64encode(f"\0{account}\0{password}".encode()).decode()
        assert self.ask(f"AUTH PLAIN {token}")[-1].startswith("235 ")

    def __enter__(self) -> Site:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()

    def line(self) -> str:
        """The next line; "" when the relay has hung up."""
        while b"\n" not in self._unread:
            data = self.socket.recv(65536)
            if not data:
                return ""
            self._unread += data
        line, _, self._unread = self._unread.partition(b"\n")
        return line.rstrip(b"\r").decode()

    def reply(self) -> list[str]:
        lines = [self.line()]
        while lines[-1][3:4] == "-":
            lines.append(self.line())
        return lines

    def say(self, text: str) -> None:
        self.socket.sendall(text.encode() + b"\r\n")

    def ask(self, command: str) -> list[str]:
        self.say(command)
        return self.reply()

    def join(self, address: tuple[str, int]) -> None:
        """Be a pipe between the relay and an SMTP server until one of them hangs up."""
        with socket.create_connection(address, 20) as server, selectors.DefaultSelector() as waiting:
            server.sendall(self._unread)
            waiting.register(self.socket, selectors.EVENT_READ, server)
            waiting.register(server, selectors.EVENT_READ, self.socket)
            while True:
                ready = waiting.select(30)
                assert ready, "neither the relay nor the server says anything"
                for key, _ in ready:
                    source, to = key.fileobj, key.data
                    assert isinstance(source, socket.socket)
                    data = source.recv(65536)
                    while isinstance(source, ssl.SSLSocket) and source.pending():
                        data += source.recv(65536)
                    if not data:
                        return
                    to.sendall(data)

    def take(self, count: int, between: Callable[[int], None] = lambda taken: None) -> list[str]:
        """Be the server oneself, and hang up instead of the 250 of the message after `count`; the bodies taken.

        between: called before each 250 with the number of the message.
        """
        self.say("220 site.test at your service")
        taken: list[str] = []
        while True:
            line = self.line()
            verb = line.partition(" ")[0].upper()
            if verb == "DATA":
                self.say("354 go on")
                lines = []
                while (line := self.line()) != ".":
                    lines.append(line)
                if len(taken) == count:
                    return taken
                taken.append(lines[-1])
                between(len(taken))
                self.say("250 2.0.0 taken")
            elif verb == "QUIT":
                self.say("221 2.0.0 bye")
                return taken
            elif not line:
                return taken
            else:
                self.say("250 2.0.0 yes")
