# SPDX-License-Identifier: GPL-3.0-or-later
"""Seconds from the end of the TLS handshake to the first byte: ``greeting.py HOST PORT CA [--browser]``.

A mail program says nothing and waits for the greeting; a browser names itself by ALPN and asks for a page.
"""

import socket
import ssl
import sys
import time


def main() -> None:
    """Print the shortest and the longest of seven times."""
    host, port, authority = sys.argv[1:4]
    browser = "--browser" in sys.argv
    context = ssl.create_default_context(cafile=authority)
    if browser:
        context.set_alpn_protocols(["http/1.1"])
    times = []
    for _ in range(7):
        plain = socket.create_connection((host, int(port)), timeout=20)
        with context.wrap_socket(plain, server_hostname=host) as secured:
            begun = time.monotonic()
            if browser:
                secured.sendall(f"GET /reach.json HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            first = secured.recv(3)
            times.append(time.monotonic() - begun)
            assert first == (b"HTT" if browser else b"220"), first
    print(min(times), max(times))


if __name__ == "__main__":
    main()
