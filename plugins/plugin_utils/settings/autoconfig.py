# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings for Thunderbird and the many programs that read its format: Mozilla's autoconfig, version 1.1.

The address itself is left to the program, which knows it: the answer has a placeholder in its place, and is the same
for everybody (draft-ietf-mailmaint-autoconfig 4).
"""

from __future__ import annotations

from xml.etree import ElementTree

from .mail_service import Incoming, MailService

__all__ = ["ADDRESS", "LOCALPART", "autoconfig_files", "username", "xml_bytes"]

ADDRESS = "%EMAILADDRESS%"
LOCALPART = "%EMAILLOCALPART%"

_PATHS = ("mail/config-v1.1.xml", ".well-known/autoconfig/mail/config-v1.1.xml")
_SOCKET = {"implicit": "SSL", "starttls": "STARTTLS"}


def autoconfig_files(service: MailService) -> dict[str, bytes]:
    """The file at each path at which programs look for it."""
    content = xml_bytes(_configuration(service))
    return dict.fromkeys(_PATHS, content)


def xml_bytes(root: ElementTree.Element) -> bytes:
    """A document with its declaration, indented, in UTF-8."""
    ElementTree.indent(root)
    text: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return text + b"\n"


def _configuration(service: MailService) -> ElementTree.Element:
    root = ElementTree.Element("clientConfig", version="1.1")
    provider = ElementTree.SubElement(root, "emailProvider", id=service.domains[0])
    for domain in service.domains:
        _text(provider, "domain", domain)
    _text(provider, "displayName", service.title)
    _text(provider, "displayShortName", service.title)
    for incoming in service.incoming:
        server = ElementTree.SubElement(provider, "incomingServer", type=incoming.kind)
        _server(server, incoming.host, incoming.port, incoming.security, username(incoming))
    for offer in service.offers:
        server = ElementTree.SubElement(provider, "outgoingServer", type="smtp")
        _server(server, service.name, offer.port, offer.security, ADDRESS)
    help_page = ElementTree.SubElement(provider, "documentation", url=f"https://{service.name}/")
    _text(help_page, "descr", f"Settings of {service.title}").set("lang", "en")
    return root


def username(incoming: Incoming) -> str:
    """What stands for the name to sign in with."""
    return LOCALPART if incoming.username == "localpart" else ADDRESS


def _server(element: ElementTree.Element, host: str, port: int, security: str, name: str) -> None:
    _text(element, "hostname", host)
    _text(element, "port", str(port))
    _text(element, "socketType", _SOCKET[security])
    _text(element, "username", name)
    # Under TLS, which both kinds of socket have.
    _text(element, "authentication", "password-cleartext")


def _text(parent: ElementTree.Element, name: str, text: str) -> ElementTree.Element:
    element = ElementTree.SubElement(parent, name)
    element.text = text
    return element
