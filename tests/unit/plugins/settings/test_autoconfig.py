# SPDX-License-Identifier: GPL-3.0-or-later
"""Mozilla's autoconfig: read again as a program reads it."""

from __future__ import annotations

from xml.etree import ElementTree

from ansible_collections.postroad.relay.plugins.plugin_utils.settings.autoconfig import autoconfig_files

from tests.unit.plugins.offered import service


def provider(**changes: object) -> ElementTree.Element:
    files = autoconfig_files(service(**changes))
    assert set(files) == {"mail/config-v1.1.xml", ".well-known/autoconfig/mail/config-v1.1.xml"}
    (content,) = set(files.values())
    assert content.startswith(b"<?xml version='1.0' encoding='utf-8'?>\n")
    root = ElementTree.fromstring(content)
    assert (root.tag, root.attrib) == ("clientConfig", {"version": "1.1"})
    (found,) = root
    return found


def server(element: ElementTree.Element) -> list[str | None]:
    return [part.text for part in element]


def test_for_whom_and_by_which_name() -> None:
    found = provider()
    assert found.get("id") == "example.org"
    assert [element.text for element in found.iter("domain")] == ["example.org", "example.net"]
    assert found.findtext("displayName") == "Anna & Bob <mail>"


def test_outgoing_servers_best_first_with_the_address_as_name() -> None:
    assert [server(element) for element in provider().iter("outgoingServer")] == [
        ["relay.example.org", "443", "SSL", "%EMAILADDRESS%", "password-cleartext"],
        ["relay.example.org", "587", "STARTTLS", "%EMAILADDRESS%", "password-cleartext"],
    ]


def test_incoming_servers_are_passed_on() -> None:
    found = list(provider().iter("incomingServer"))
    assert [element.get("type") for element in found] == ["imap", "imap", "pop3"]
    assert server(found[0]) == ["imap.example.net", "993", "SSL", "%EMAILLOCALPART%", "password-cleartext"]
    assert server(found[1])[2] == "STARTTLS"
    assert list(provider(incoming=()).iter("incomingServer")) == []
