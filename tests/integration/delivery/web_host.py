# SPDX-License-Identifier: GPL-3.0-or-later
"""An HTTPS host in a process of its own: ``python web_host.py ADDRESS PORT CERTIFICATE KEY DIRECTORY``.

What is at ``https://HOST/PATH`` is the file DIRECTORY/HOST/PATH; what is posted becomes the file
DIRECTORY/posted/NUMBER, its header lines first.
"""

from __future__ import annotations

import http.server
import ssl
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

__all__ = ["WebHost"]


class _Handler(http.server.SimpleHTTPRequestHandler):
    def translate_path(self, path: str) -> str:
        host = self.headers.get("Host", "none").partition(":")[0]
        return str(Path(self.directory) / host) + path

    def do_GET(self) -> None:
        moved = Path(self.translate_path(self.path) + ".moved")
        if moved.exists():
            self.send_response(302)
            self.send_header("Location", moved.read_text().strip())
            self.end_headers()
            return
        super().do_GET()

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        directory = Path(self.directory) / "posted"
        directory.mkdir(exist_ok=True)
        number = len(list(directory.iterdir()))
        (directory / str(number)).write_bytes(f"{self.path}\n{self.headers}".encode() + content)
        self.send_response(201)
        self.send_header("Content-Length", "0")
        self.end_headers()


@dataclass
class WebHost:
    """Starts and stops one."""

    address: str
    port: int
    certificate: Path
    key: Path
    directory: Path
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> WebHost:
        from .peers import listens, wait_for

        self.directory.mkdir(exist_ok=True)
        options = map(str, (self.address, self.port, self.certificate, self.key, self.directory))
        self.process = subprocess.Popen([sys.executable, __file__, *options], stderr=subprocess.DEVNULL)
        wait_for(lambda: listens(self.address, self.port), "the web host")
        return self

    def publish(self, domain: str, policy: str) -> None:
        """Put a domain's MTA-STS policy where it belongs."""
        place = self.directory / f"mta-sts.{domain}" / ".well-known"
        place.mkdir(parents=True, exist_ok=True)
        (place / "mta-sts.txt").write_text(policy)

    def redirect(self, domain: str, url: str) -> None:
        """Have a domain's policy answered with HTTP status 302."""
        place = self.directory / f"mta-sts.{domain}" / ".well-known"
        place.mkdir(parents=True, exist_ok=True)
        (place / "mta-sts.txt.moved").write_text(url)

    def posted(self) -> list[bytes]:
        """What was posted so far."""
        files = (self.directory / "posted").glob("*")
        return [file.read_bytes() for file in sorted(files)]

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait()
            self.process = None


def _main(address: str, port: str, certificate: str, key: str, directory: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = http.server.ThreadingHTTPServer(
        (address, int(port)), lambda *arguments: _Handler(*arguments, directory=directory)
    )
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.serve_forever()


if __name__ == "__main__":
    _main(*sys.argv[1:])
