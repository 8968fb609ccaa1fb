# SPDX-License-Identifier: GPL-3.0-or-later
"""The arguments and the help of ``relay-agent certificate``; what the commands do is in `certificate`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from relay_agent.cli.commands import CommandFormatter, command, config_option, examples_text, json_option

__all__ = ["add_certificate"]

_MODULE = "relay_agent.cli.certificate"
_SETTINGS = Path("/etc/postroad/certificate.toml")


def add_certificate(commands: Any) -> None:
    """Add the command and its actions."""
    certificate = commands.add_parser(
        "certificate", help="the relay's own certificate, and its TLSA records", formatter_class=CommandFormatter
    )
    certificate.description = (
        "The certificate that mail programs see: how long it holds, its TLSA records, and its renewal, which "
        "relay-certificate.timer does by itself where the authority speaks ACME."
    )
    certificate.epilog = examples_text(["relay-agent certificate show", "relay-agent certificate tlsa"])
    actions = certificate.add_subparsers(title="commands", metavar="COMMAND", required=True)

    show = command(
        actions,
        "show",
        f"{_MODULE}:show",
        "the certificate in use, its end and its renewal",
        "Show the certificate in use, and how its renewals went. Exit status 1 when it has ended, or when a renewal is "
        "due and comes to nothing.",
        ["relay-agent certificate show", "relay-agent certificate show --json"],
    )
    tlsa = command(
        actions,
        "tlsa",
        f"{_MODULE}:tlsa",
        "the TLSA records of the present key and of the next one",
        "Print the TLSA records (3 1 1) of the key in use and of the one that comes next, as a zone file has them. The "
        "next key is made if there is none; it is used only when its record has been visible for its TTL.",
        ["relay-agent certificate tlsa >> zone", "relay-agent certificate tlsa --ttl 300"],
    )
    tlsa.add_argument("--ttl", type=int, metavar="SECONDS", help="default: that of the settings, or 3600")
    tlsa.add_argument("--existing", action="store_true", help="make no next key where there is none")
    renew = command(
        actions,
        "renew",
        f"{_MODULE}:renew",
        "renew the certificate if it is time",
        "Renew the certificate if it is time, and publish TLSA records that are missing. The certificate in use stays "
        "until the new one has shown itself in a handshake with the relay's own ports. One that does not is kept, and "
        "tried again before the authority is asked for another.",
        ["relay-agent certificate renew", "relay-agent certificate renew --now"],
    )
    renew.add_argument("--now", action="store_true", help="whether it is time or not")
    prove = command(
        actions,
        "prove",
        f"{_MODULE}:prove",
        "whether the relay's ports show the certificate",
        "Make a TLS handshake with each port of the running agent, and wait until all have shown the certificate that "
        "is on the disk. Exit status 1 when one does not. A drained relay has no port to look at. Run as root, it "
        "notes that one which was renewed while no port was open has been shown.",
        ["relay-agent certificate prove", "relay-agent certificate prove --within 5"],
    )
    for parser in (renew, prove):
        parser.add_argument(
            "--within",
            type=float,
            metavar="SECONDS",
            default=120.0,
            help="the ports' time to show it; default: %(default)g",
        )
    for parser in (show, tlsa, renew, prove):
        config_option(parser)
        parser.add_argument("--settings", type=Path, metavar="FILE", default=_SETTINGS, help="default: %(default)s")
        json_option(parser)
