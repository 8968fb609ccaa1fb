# SPDX-License-Identifier: GPL-3.0-or-later
"""Microsoft's autodiscover: the answers that the web server chooses between."""

from __future__ import annotations

import json
from xml.etree import ElementTree

from ansible_collections.postroad.relay.plugins.plugin_utils.settings.autodiscover import (
    JSON_ANSWER,
    NAMED_ANSWER,
    NAMELESS_ANSWER,
    autodiscover_answers,
)

from tests.unit.plugins.offered import service

_INNER = "{http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a}"


def protocols(name: str, **changes: object) -> list[dict[str, str | None]]:
    root = ElementTree.fromstring(autodiscover_answers(service(**changes))[name])
    assert root.tag == "{http://schemas.microsoft.com/exchange/autodiscover/responseschema/2006}Autodiscover"
    found = root.iter(f"{_INNER}Protocol")
    return [{part.tag.removeprefix(_INNER): part.text for part in protocol} for protocol in found]


def test_the_best_of_each_kind_with_a_place_for_the_address() -> None:
    imap, pop3, smtp = protocols(NAMED_ANSWER)
    assert (imap["Type"], imap["Server"], imap["LoginName"]) == ("IMAP", "imap.example.net", "%EMAILLOCALPART%")
    assert (pop3["Type"], pop3["Server"], pop3["LoginName"]) == ("POP3", "pop.example.net", "%EMAILADDRESS%")
    assert (smtp["Type"], smtp["Server"], smtp["Port"]) == ("SMTP", "relay.example.org", "443")
    assert (smtp["LoginName"], smtp["Encryption"], smtp["UsePOPAuth"]) == ("%EMAILADDRESS%", "SSL", "off")


def test_nobody_is_named_for_an_address_that_cannot_be_written() -> None:
    assert not any("LoginName" in protocol for protocol in protocols(NAMELESS_ANSWER))
    assert [protocol["Type"] for protocol in protocols(NAMELESS_ANSWER, incoming=())] == ["SMTP"]


def test_in_json_where_the_xml_is() -> None:
    answer = json.loads(autodiscover_answers(service())[JSON_ANSWER])
    url = "https://relay.example.org/autodiscover/autodiscover.xml"
    assert answer == {"Protocol": "AutodiscoverV1", "Url": url}
