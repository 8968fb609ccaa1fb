# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with a service's variables, in words that say what to do."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.postroad.relay.plugins.plugin_utils.settings.preflight import settings_problems

from tests.unit.plugins.offered import LISTENERS

HOST = "relay.example.org"


def problems(
    listeners: list[dict[str, Any]] | None = None, names: tuple[str, ...] = (HOST,), **wanted: Any
) -> list[str]:
    return list(settings_problems({"domains": ["example.org"], **wanted}, listeners or LISTENERS, HOST, names))


def test_a_time_for_browsers_that_is_none() -> None:
    told = list(settings_problems({"domains": ["example.org"]}, LISTENERS, HOST, (HOST,), hsts=-1))
    assert told == ["relay_settings_hsts: -1 is no time in seconds (expected 0 or more)"]


def test_a_good_one_and_none() -> None:
    assert problems() == []
    assert problems(name="mail.example.org", names=("*.example.org",)) == []
    assert problems(incoming=[{"host": "imap.example.org"}], support="mailto:me@example.org") == []
    assert list(settings_problems({}, [], HOST, ())) == []
    assert list(settings_problems({"name": None, "domains": None}, [], HOST, ())) == []


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"domains": []}, ".domains: is empty"),
        ({"domains": ["example.org", "a b"]}, ".domains: 'a b' is not a name of the DNS"),
        ({"name": 'a.example"; evil on;'}, ".name: 'a.example\"; evil on;' is not a name of the DNS"),
        ({"name": "other.example.org"}, ".name: other.example.org is not among relay_tls_certificate.names"),
        ({"title": "a\nb"}, ".title: has a letter that cannot be printed"),
        ({"support": "javascript:alert(1)"}, ".support: 'javascript:alert(1)' is no address"),
        ({"incoming": [{"host": "imap_example"}]}, ".incoming: 'imap_example' is not a name of the DNS"),
        ({"incoming": [{"host": "imap.example.org", "port": 0}]}, ".incoming: 0 is no port"),
    ],
)
def test_faults(wanted: dict[str, Any], said: str) -> None:
    found = problems(**wanted)
    assert any(said in problem for problem in found), found
    assert all(problem.startswith("relay_settings_service") for problem in found)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"web": ""}, "browsers cannot come to it"),
        ({"web": "127.0.0.1:8080"}, "a port that any user of the host could take"),
        ({"web": "127.0.0.1:881"}, "web is 127.0.0.1:881 and 127.0.0.1:880"),
        ({"web": "0.0.0.0:880"}, "web is '0.0.0.0:880', and not a place on this host"),
        ({"web": "127.0.0.1:880; evil"}, "web is '127.0.0.1:880; evil', and not a place on this host"),
        ({"web": "127.0.0.1"}, "web is '127.0.0.1', and not a place on this host"),
        ({"web": "[::1%x;evil]:880"}, "web is '[::1%x;evil]:880', and not a place on this host"),
        ({"tls": "auto"}, "port 443 has web and tls: auto"),
        ({"tls": "starttls"}, "browsers cannot come to it"),
    ],
)
def test_listeners_that_do_not_fit(changed: dict[str, Any], said: str) -> None:
    listeners = [LISTENERS[0] | changed, *LISTENERS[1:]]
    assert any(said in problem for problem in problems(listeners))
