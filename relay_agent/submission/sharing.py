# SPDX-License-Identifier: GPL-3.0-or-later
"""A port that mail programs and browsers share.

They are told apart by ALPN (RFC 7301), which browsers send with their TLS hello and mail programs do not; else by what
comes first: a browser begins, and a mail program waits for the greeting, which therefore comes a moment later here.
"""

from __future__ import annotations

import asyncio
from typing import cast

from relay_agent.submission.opening import Opening
from relay_agent.submission.web import WebTunnel, proxy_header

__all__ = ["Sharing"]

_METHODS = (b"GET ", b"HEAD ", b"POST ", b"PUT ", b"DELETE ", b"OPTIONS ", b"PATCH ", b"PRI * HTTP/2")


class Sharing(Opening):
    """The moment before the greeting in which a browser may turn up."""

    web: tuple[str, int] | None  # where the web server of this host is
    web_wait: float  # seconds

    def begin(self) -> None:
        super().begin()
        self.web = None
        self._tunnel: WebTunnel | None = None
        self._guess: asyncio.TimerHandle | None = None
        self._carrying: asyncio.Task[None] | None = None

    def welcome(self) -> None:
        if self.web is None:
            super().welcome()
            return
        tls = self.transport.get_extra_info("ssl_object") if self.transport is not None else None
        if tls is not None and tls.selected_alpn_protocol() == "http/1.1":
            self._hand_over()
            return
        # A client that may begin with TLS has been waited for already, and said nothing.
        wait = 0.0 if self.auto_tls is not None and tls is None else self.web_wait
        self._guess = self.loop.call_later(wait, self._no_browser)

    def _no_browser(self) -> None:
        self._stop_guessing()
        super().welcome()
        if self._in:
            self._pump()

    def _stop_guessing(self) -> None:
        if self._guess is not None:
            self._guess.cancel()
            self._guess = None

    def data_received(self, data: bytes) -> None:
        if self._guess is None:
            super().data_received(data)
            return
        self._in += data
        if any(self._in.startswith(method) for method in _METHODS):
            self._hand_over()
        elif not any(method.startswith(self._in[: len(method)]) for method in _METHODS):
            self._no_browser()

    def _hand_over(self) -> None:
        assert self.web is not None
        self._stop_guessing()
        transport = cast(asyncio.Transport, self.transport)
        own = transport.get_extra_info("socket").getsockname()
        peer = self.session.peer if self.session is not None else None
        port = peer[1] if isinstance(peer, tuple) else 0
        beginning = proxy_header(self.peer_address, port, own[0], own[1]) + bytes(self._in)
        self._in.clear()
        self.events.event("browser", level="debug", peer=self.peer_address, port=self.listener.port)
        self._tunnel = WebTunnel(transport, beginning, alive=self._sign_of_life, ended=self._browser_left)
        transport.set_protocol(self._tunnel)
        if not transport.is_reading():
            transport.resume_reading()
        self._carrying = self.loop.create_task(self._tunnel.connect(*self.web))

    def _browser_left(self) -> None:
        self.connection_lost(None)

    def connection_lost(self, error: Exception | None) -> None:
        self._stop_guessing()
        super().connection_lost(error)

    def eof_received(self) -> bool:
        if self._guess is not None:
            self._no_browser()
        return super().eof_received()

    def time_out(self) -> None:
        if self._tunnel is not None:
            self._tunnel.close()
        else:
            super().time_out()

    def shut_down(self) -> None:
        if self._tunnel is not None:
            self._tunnel.close()
        else:
            self._stop_guessing()
            super().shut_down()
