# SPDX-License-Identifier: GPL-3.0-or-later
"""The traveller's page, which every relay serves at https://NAME/: settings, steps for each program, and a check.

It is of files that need nothing from elsewhere, and works under a Content-Security-Policy that forbids everything
written into the page itself: no style, no script, no handler. It is whole without its script.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.postroad.relay.plugins.plugin_utils.certificates.certificate import parse_chain
from ansible_collections.postroad.relay.plugins.plugin_utils.plain_words import plain
from ansible_collections.postroad.relay.plugins.plugin_utils.settings.cards import cards
from ansible_collections.postroad.relay.plugins.plugin_utils.settings.mail_service import Incoming, MailService
from ansible_collections.postroad.relay.plugins.plugin_utils.settings.qr import qr_code
from ansible_collections.postroad.relay.plugins.plugin_utils.settings.texts import FILES, Texts
from cryptography.hazmat.primitives import hashes
from jinja2 import Environment, FileSystemLoader, StrictUndefined

__all__ = ["fingerprints", "page_of", "settings_page"]

_ASSETS = ("style.css", "script.js", "icon.svg", "road.svg")
_HOST = re.compile(r"(?=.{1,253}\Z)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.I)
_SUPPORT = ("https", "http", "mailto")
# Those of the mail ports that no browser opens (https://fetch.spec.whatwg.org/#port-blocking).
_REFUSED_BY_BROWSERS = (25, 465, 587)


def settings_page(service: MailService, *, language: str = "en", web_ports: Iterable[int] = (443,)) -> dict[str, bytes]:
    """The files, by their paths below the root of the relay's web server.

    web_ports: those that show this page to a browser (`web` of a listener), for the check. Raises ValueError for a
    name that is no host's, a support address that a page must not link to, and a language that there is none of;
    CertificateError for an authority that is no certificate.
    """
    page = page_of(service, Texts.read(language), web_ports)
    return {"index.html": page.encode()} | {name: (FILES / name).read_bytes() for name in _ASSETS}


def page_of(service: MailService, texts: Texts, web_ports: Iterable[int] = (443,)) -> str:
    """The page itself. Raises as `settings_page` does."""
    for host in (service.name, *(incoming.host for incoming in service.incoming)):
        if not _HOST.fullmatch(host):
            raise ValueError(
                f"{host!r} is no name of a host: write it as it stands in the DNS, such as mail.example.org"
            )
    if not service.offers:
        raise ValueError(f"{service.name} offers no port: give relay_agent_listeners one that mail programs can use")
    environment = Environment(
        loader=FileSystemLoader(FILES), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("page.html.j2").render(_content(service, texts, web_ports))


def fingerprints(pem: str) -> list[str]:
    """SHA-256 over each certificate, as devices show it: upper-case digits in pairs. Raises CertificateError."""
    return [
        certificate.fingerprint(hashes.SHA256()).hex(":").upper()
        for certificate in parse_chain(pem, "the authority of the mail service")
    ]


def _content(service: MailService, texts: Texts, web_ports: Iterable[int]) -> dict[str, Any]:
    address = f"https://{service.name}/"
    profile = f"{address}postroad.mobileconfig"
    ports = [port for port in dict.fromkeys(web_ports) if port not in _REFUSED_BY_BROWSERS]
    implicit = [
        [offer.port, texts.plain("security.implicit")] for offer in service.offers if offer.security == "implicit"
    ]
    return {
        "t": texts,
        "name": service.name,
        "title": plain(service.title),
        "domains": ", ".join(f"@{plain(domain)}" for domain in service.domains),
        "offers": [(offer.port, texts.plain(f"security.{offer.security}")) for offer in service.offers],
        "incoming": [_incoming(each, texts) for each in service.incoming],
        "cards": cards(service, texts),
        "address": address,
        "address_code": qr_code(address),
        "profile": profile,
        "profile_code": qr_code(profile),
        "fingerprints": fingerprints(service.authority) if service.authority else [],
        "support": _support(service.support),
        "probe": f"relay-agent probe {'--ca ca.pem ' if service.authority else ''}{service.name}",
        "ports": json.dumps(ports),
        "mail": json.dumps(implicit),
    }


def _incoming(incoming: Incoming, texts: Texts) -> dict[str, Any]:
    return {
        "kind": texts.plain(f"kinds.{incoming.kind}"),
        "host": incoming.host,
        "port": incoming.port,
        "security": texts.plain(f"security.{incoming.security}"),
        "user": texts.plain(f"values.incoming_{incoming.username}"),
    }


def _support(address: str) -> tuple[str, str] | None:
    """Where a link for questions leads, and what it shows."""
    if not address:
        return None
    parts = urlsplit(address)
    if parts.scheme not in _SUPPORT or address != plain(address) or not (parts.netloc or parts.scheme == "mailto"):
        raise ValueError(f"the support address {address!r} is neither a web page (https://…) nor mailto:NAME@DOMAIN")
    return address, parts.path if parts.scheme == "mailto" else f"{parts.netloc}{parts.path}".rstrip("/")
