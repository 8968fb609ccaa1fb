# SPDX-License-Identifier: GPL-3.0-or-later
"""A token endpoint (RFC 6749) over HTTPS, in a process: ``python token_host.py ADDRESS PORT CERTIFICATE KEY [TOKEN]``.

``/token`` knows the client `relay` with the secret `s3cret:%`, by client credentials or the refresh token `again`, and
numbers the tokens it gives; ``/short`` gives those that last eight seconds, ``/odd`` none. ``/given/GRANT`` gives to
that grant alone what is in the file TOKEN.
"""

from __future__ import annotations

import base64
import http.server
import itertools
import json
import ssl
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, unquote_plus

__all__ = ["TokenHost"]

_NUMBERS = itertools.count(1)
_GIVEN = "/given/"


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        form = {
            key: value[0]
            for key, value in parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode()).items()
        }
        shown = form.get("client_id"), form.get("client_secret")
        kind, _, pair = self.headers.get("Authorization", "").partition(" ")
        if kind == "Basic":
            name, _, secret = base64.b64decode(pair).decode().partition(":")
            shown = unquote_plus(name), unquote_plus(secret)
        if shown != ("relay", "s3cret:%"):
            self._answer(401, {"error": "invalid_client", "error_description": f"{shown[1]} is wrong"})
        elif form["grant_type"] == "refresh_token" and form["refresh_token"] != "again":
            self._answer(400, {"error": "invalid_grant"})
        elif self.path.startswith(_GIVEN):
            if form["grant_type"] != self.path.removeprefix(_GIVEN):
                self._answer(400, {"error": "unsupported_grant_type"})
            else:
                self._answer(200, {"access_token": Path(sys.argv[5]).read_text(), "expires_in": 3600})
        elif self.path == "/odd":
            self._answer(200, {"token_type": "Bearer"})
        else:
            how = f"{form['grant_type']}.{form.get('scope', 'none')}.{kind or 'post'}"
            lifetime = 8 if self.path == "/short" else 3600
            self._answer(200, {"access_token": f"{how}.{next(_NUMBERS)}", "expires_in": lifetime})

    def _answer(self, status: int, said: dict[str, object]) -> None:
        content = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@dataclass
class TokenHost:
    """Starts and stops one."""

    address: str
    port: int
    certificate: Path
    key: Path
    token: Path | None = None
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> TokenHost:
        from .peers import listens, wait_for

        options = map(str, (self.address, self.port, self.certificate, self.key, self.token or ""))
        self.process = subprocess.Popen([sys.executable, __file__, *options], stderr=subprocess.DEVNULL)
        wait_for(lambda: listens(self.address, self.port), "the token endpoint")
        return self

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait()
            self.process = None


def _main(address: str, port: str, certificate: str, key: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = http.server.ThreadingHTTPServer((address, int(port)), _Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.serve_forever()


if __name__ == "__main__":
    _main(*sys.argv[1:5])
