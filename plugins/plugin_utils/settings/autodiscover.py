# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings for Outlook and what asks as it does: Microsoft's autodiscover (MS-OXDSCLI), in XML and in JSON.

Outlook signs in with the part before the @ where the answer names nobody, so the answer has to name the address that
was asked with. The web server puts it in place of a placeholder, and only when it consists of letters that mean
nothing in XML (`server`); there is an answer without a name for all others.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from xml.etree import ElementTree

from .autoconfig import ADDRESS, username, xml_bytes
from .mail_service import MailService

__all__ = ["JSON_ANSWER", "NAMED_ANSWER", "NAMELESS_ANSWER", "autodiscover_answers"]

NAMED_ANSWER = "autodiscover-named.xml"
NAMELESS_ANSWER = "autodiscover.xml"
JSON_ANSWER = "autodiscover.json"

_OUTER = "http://schemas.microsoft.com/exchange/autodiscover/responseschema/2006"
_INNER = "http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a"
_TYPE = {"imap": "IMAP", "pop3": "POP3"}
# Outlook's words: SSL is TLS from the first byte, TLS is STARTTLS.
_ENCRYPTION = {"implicit": "SSL", "starttls": "TLS"}


def autodiscover_answers(service: MailService) -> dict[str, bytes]:
    """Answers that the web server chooses between, by name; none is a path of its own."""
    where = {"Protocol": "AutodiscoverV1", "Url": f"https://{service.name}/autodiscover/autodiscover.xml"}
    return {
        NAMED_ANSWER: xml_bytes(_answer(service, named=True)),
        NAMELESS_ANSWER: xml_bytes(_answer(service, named=False)),
        JSON_ANSWER: json.dumps(where, indent=2).encode() + b"\n",
    }


def _answer(service: MailService, *, named: bool) -> ElementTree.Element:
    root = ElementTree.Element("Autodiscover", xmlns=_OUTER)
    response = ElementTree.SubElement(root, "Response", xmlns=_INNER)
    user = ElementTree.SubElement(response, "User")
    ElementTree.SubElement(user, "DisplayName").text = service.title
    account = ElementTree.SubElement(response, "Account")
    _texts(account, {"AccountType": "email", "Action": "settings"})
    # Of each kind the best only: Outlook takes one.
    kinds: set[str] = set()
    for incoming in service.incoming:
        if incoming.kind not in kinds:
            kinds.add(incoming.kind)
            name = username(incoming) if named else ""
            _protocol(account, _TYPE[incoming.kind], incoming.host, incoming.port, incoming.security, name)
    best = service.offers[0]
    _protocol(account, "SMTP", service.name, best.port, best.security, ADDRESS if named else "")
    return root


def _protocol(account: ElementTree.Element, kind: str, host: str, port: int, security: str, name: str) -> None:
    protocol = ElementTree.SubElement(account, "Protocol")
    _texts(protocol, {"Type": kind, "Server": host, "Port": str(port)})
    if name:
        _texts(protocol, {"LoginName": name})
    _texts(protocol, {"DomainRequired": "off", "SPA": "off", "SSL": "on", "Encryption": _ENCRYPTION[security]})
    _texts(protocol, {"AuthRequired": "on"})
    if kind == "SMTP":
        _texts(protocol, {"UsePOPAuth": "off", "SMTPLast": "off"})


def _texts(parent: ElementTree.Element, texts: Mapping[str, str]) -> None:
    for name, text in texts.items():
        ElementTree.SubElement(parent, name).text = text
