# SPDX-License-Identifier: GPL-3.0-or-later
"""The web server of a relay as the role relay_settings sets it up: the page's files over TLS, with its policy."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.integration.certificates import Certificate

__all__ = ["POLICY", "RelayWeb"]

POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self' data:; script-src 'self'; connect-src 'self' https:; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
_TYPES = {"html": "text/html; charset=utf-8", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}


class RelayWeb:
    """A server on loopback while it is entered; it can be entered again, on the same port.

    files: by path. service: what reach.json says; None for an answer of somebody else; silent: for none at all.
    """

    def __init__(self, certificate: Certificate) -> None:
        self.files: Mapping[str, bytes] = {}
        self.service: str | None = "relay.example.org"
        self.silent = False
        self.port = 0
        self.asked: list[str] = []
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate.certificate, certificate.key)

    def __enter__(self) -> RelayWeb:
        web = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                web._answer(self)

            def log_message(self, format: str, *args: object) -> None:
                """Nothing: tests look at what was asked."""

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._server.socket = self._context.wrap_socket(
            self._server.socket, server_side=True, do_handshake_on_connect=False
        )
        self._released = threading.Event()
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._released.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        name = request.path.partition("?")[0].lstrip("/") or "index.html"
        self.asked.append(name)
        if name == "reach.json":
            if self.silent:
                self._released.wait()
                return
            content = json.dumps({"service": self.service}) if self.service else "<html>Please sign in</html>"
            self._send(request, content.encode(), "application/json", {"Access-Control-Allow-Origin": "*"})
        elif name in self.files:
            self._send(request, self.files[name], _TYPES[name.rpartition(".")[2]], {})
        else:
            request.send_error(404)

    def _send(self, request: BaseHTTPRequestHandler, content: bytes, kind: str, more: Mapping[str, str]) -> None:
        request.send_response(200)
        for header, value in {
            "Content-Type": kind, "Content-Length": str(len(content)), "Content-Security-Policy": POLICY,
            "X-Content-Type-Options": "nosniff", **more,
        }.items():  # fmt: skip
            request.send_header(header, value)
        request.end_headers()
        request.wfile.write(content)
