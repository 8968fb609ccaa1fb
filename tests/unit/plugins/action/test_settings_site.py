# SPDX-License-Identifier: GPL-3.0-or-later
"""The action settings_site in a playbook: what it plans on a bare host, and what it refuses."""

from collections.abc import Mapping
from typing import Any

import pytest

from tests.unit.plugins.machine import Machine, Play
from tests.unit.plugins.offered import LISTENERS

SERVICE: dict[str, Any] = {
    "title": "Example mail",
    "domains": ["example.org"],
    "incoming": [{"host": "imap.example.org"}],
}


def task(name: str, *, check: bool = True, **changes: Any) -> dict[str, Any]:
    arguments = {"hostname": "relay.example.org", "listeners": LISTENERS, "service": SERVICE, **changes}
    return {"name": name, "postroad.relay.settings_site": arguments, "check_mode": check}


@pytest.fixture(scope="module")
def play(shared_machine: Machine) -> Play:
    """One playbook, since each start of Ansible takes its second."""
    return shared_machine.play(
        [
            task("planned"),
            task("public authority", certificate={"mode": "acme"}),
            task("no authority", check=False),
            task("none wanted", service={}),
            task("misspelt", service={**SERVICE, "incomming": []}),
            task("nowhere to listen", listeners=[{"port": 587, "tls": "starttls"}]),
            task("taken away", state="absent"),
        ]
    )


def written(result: Mapping[str, Any]) -> dict[str, str]:
    return {part["after_header"]: part["after"] for part in result["diff"]}


def test_check_mode_shows_what_would_be_served(play: Play) -> None:
    planned = play.results["planned"]
    assert planned["changed"]
    files = written(planned)
    assert "<hostname>relay.example.org</hostname>" in files["/etc/postroad-settings/pages/mail/config-v1.1.xml"]
    assert "listen 127.0.0.1:880 proxy_protocol;" in files["/etc/postroad-settings/nginx.conf"]
    assert "DynamicUser=true" in files["/etc/systemd/system/postroad-settings.service"]
    assert files["/etc/postroad-settings/pages/ca.pem"].startswith("-----BEGIN CERTIFICATE-----")
    assert "the authority is made in the run" in planned["warnings"][0]


def test_a_public_authority_is_not_given_out(play: Play) -> None:
    files = written(play.results["public authority"])
    assert "/etc/postroad-settings/pages/ca.pem" not in files
    assert "com.apple.security" not in files["/etc/postroad-settings/profile.plist"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("no authority", "the authority that people are to trust cannot be read"),
        ("misspelt", "incomming"),
        ("nowhere to listen", "browsers cannot come to it"),
    ],
)
def test_it_refuses(play: Play, name: str, said: str) -> None:
    assert play.results[name]["failed"]
    assert said in play.results[name]["msg"]


def test_nothing_is_done_where_nothing_is_wanted(play: Play) -> None:
    assert not play.results["none wanted"]["changed"]
    assert (play.results["taken away"]["changed"], play.results["taken away"]["removed"]) == (False, [])
