# SPDX-License-Identifier: GPL-3.0-or-later
"""A made-up mail service for the traveller's page: for its tests, and for the pictures in docs/traveller.md.

``python scripts/settings_example.py DIRECTORY`` writes the page's files there; with ``--pictures`` Debian's
chromium and pngquant take settings-desktop.png, settings-phone.png and settings-dark.png instead.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from browser import browser
from streaming import ROOT

sys.path.append(str(ROOT / ".venv/collections"))

from ansible_collections.postroad.relay.plugins.module_utils.port_order import offers
from ansible_collections.postroad.relay.plugins.plugin_utils.settings.mail_service import Incoming, MailService
from ansible_collections.postroad.relay.plugins.plugin_utils.settings.page import settings_page
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

__all__ = ["PICTURES", "SERVICE", "authority", "outgoing_only", "private", "take_pictures", "write"]

SERVICE = MailService(
    name="relay.example.org",
    title="Example mail",
    domains=("example.org", "example.net"),
    offers=tuple(
        offers(
            [
                {"port": 587, "tls": "starttls"}, {"port": 2525, "tls": "starttls"}, {"port": 8025, "tls": "starttls"},
                {"port": 465, "tls": "implicit"}, {"port": 2465, "tls": "implicit"}, {"port": 443, "tls": "implicit"},
            ]
        )
    ),
    incoming=(Incoming("imap", "imap.example.org", 993, "implicit"),),
    support="mailto:help@example.org",
)  # fmt: skip
"""As with a certificate that every device trusts, and with mailboxes that are known."""

# Name, width, height, dark.
PICTURES = (
    ("settings-desktop", 1120, 900, False),
    ("settings-dark", 1120, 900, True),
    ("settings-phone", 390, 844, False),
)


def authority() -> str:
    """An authority of an operator's own, in PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Example mail authority")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=3650))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM).decode()


def private() -> MailService:
    """The same with an authority of its own, and with POP3 beside IMAP."""
    pop = Incoming("pop3", "pop.example.org", 110, "starttls", username="localpart")
    return replace(SERVICE, incoming=(*SERVICE.incoming, pop), authority=authority())


def outgoing_only() -> MailService:
    """The same where nothing is known but the relay, which has one port."""
    return replace(SERVICE, incoming=(), offers=tuple(offers([{"port": 587, "tls": "starttls"}])), support="")


def write(service: MailService, directory: Path) -> None:
    """The page's files."""
    for name, content in settings_page(service).items():
        (directory / name).write_bytes(content)


def take_pictures(directory: Path) -> list[Path]:
    """The pictures of the documentation. Raises FileNotFoundError without chromium or pngquant, BrowserError."""
    taken = []
    with tempfile.TemporaryDirectory() as made, browser() as tab:
        write(SERVICE, Path(made))
        for name, width, height, dark in PICTURES:
            tab.look(width=width, height=height, dark=dark)
            tab.open((Path(made) / "index.html").as_uri())
            path = directory / f"{name}.png"
            path.write_bytes(_with_palette(tab.picture()))
            taken.append(path)
    return taken


def _with_palette(png: bytes) -> bytes:
    """The picture in 256 colours, which takes a third of the bytes."""
    done = subprocess.run(["pngquant", "--speed", "1", "--strip", "-"], input=png, capture_output=True, check=True)
    return done.stdout


def main(arguments: Sequence[str]) -> int:
    """See the module's documentation."""
    parser = argparse.ArgumentParser(description="Writes the traveller's page of a made-up service.")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--pictures", action="store_true", help="pictures of it instead, by chromium and pngquant")
    parser.add_argument("--private", action="store_true", help="of one with an authority of its own")
    chosen = parser.parse_args(arguments)
    if chosen.pictures:
        take_pictures(chosen.directory)
    else:
        write(private() if chosen.private else SERVICE, chosen.directory)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
