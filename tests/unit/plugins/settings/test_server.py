# SPDX-License-Identifier: GPL-3.0-or-later
"""The web server's configuration: what it listens on, what it trusts, and what can get into an answer.

That nginx takes it, and does with it what it should, the scenario `settings` shows.
"""

from __future__ import annotations

import re

import pytest
from ansible_collections.postroad.relay.plugins.plugin_utils.settings.server import server_configuration, web_addresses

from tests.unit.plugins.offered import LISTENERS, service


def directives(text: str, name: str) -> list[str]:
    return re.findall(rf"^\s*{name}\s+(.*);$", text, re.MULTILINE)


def test_it_listens_where_the_agent_brings_browsers_and_nowhere_else() -> None:
    text = server_configuration(service(), LISTENERS)
    assert directives(text, "listen") == ["127.0.0.1:880 proxy_protocol"]
    assert directives(text, "set_real_ip_from") == ["127.0.0.1", "::1"]
    assert "include" not in text
    assert not re.search(r"@[A-Z_]+@", text)


def test_only_ports_with_tls_have_pages() -> None:
    text = server_configuration(service(), LISTENERS)
    assert '"~^443 " "";' in text
    assert '"~^80 ' not in text
    assert directives(text, "return") == ["302 https://relay.example.org$request_uri", "204", "400"]


def test_browsers_are_held_to_tls_on_demand_only() -> None:
    assert "Strict-Transport-Security" not in server_configuration(service(), LISTENERS)
    assert '"max-age=86400"' in server_configuration(service(), LISTENERS, hsts=86400)


@pytest.mark.parametrize(
    ("body", "taken"),
    [
        ("<EMailAddress>anna.b+c@example.org</EMailAddress>", "anna.b+c@example.org"),
        ("<a:EMailAddress>\n ANNA@example.org </a:EMailAddress>", "ANNA@example.org"),
        ("<EMailAddress>a@b&amp;c</EMailAddress>", None),
        ("<EMailAddress>%EMAILADDRESS%@example.org</EMailAddress>", None),
        ("<EMailAddress>$host@example.org</EMailAddress>", None),
        ('<EMailAddress>"a"@example.org</EMailAddress>', None),
        (f"<EMailAddress>{'a' * 65}@example.org</EMailAddress>", None),
    ],
)
def test_only_an_address_that_can_stand_in_xml_is_taken(body: str, taken: str | None) -> None:
    (pattern,) = re.findall(r'"~\*(.*EMailAddress.*)" \$1;', server_configuration(service(), LISTENERS))
    found = re.search(pattern, body, re.IGNORECASE)
    assert (found[1] if found else None) == taken


def test_a_long_question_of_outlook_is_not_too_long_for_where_it_is_sent_on_to() -> None:
    assert directives(server_configuration(service(), LISTENERS), "client_max_body_size") == ["16k"]


def test_each_address_of_a_web_server_once() -> None:
    assert web_addresses(LISTENERS) == ["127.0.0.1:880"]
    assert web_addresses([{"port": 587, "tls": "starttls"}]) == []
