# SPDX-License-Identifier: GPL-3.0-or-later
"""The role in the operator's hands: what a check run shows is what the run does, and all of it can be taken away."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from traffic.operator import Run
from traffic.pages import Get
from traffic.relays import Relay

INVENTORY = f"--inventory={Path(__file__).resolve().parent.parent / 'inventory'}"
TASK = "postroad.relay.relay_settings : Keep the settings of mail programs served"
OTHER: dict[str, Any] = {"title": "Other <mail>", "domains": ["alpha.test"]}
BY_HAND = """
set -e
echo evil >> /etc/postroad-settings/pages/mail/config-v1.1.xml
echo evil > /etc/postroad-settings/pages/evil.html
chmod 0700 /etc/postroad-settings/answers
systemctl disable --now --quiet postroad-settings.service
rm /run/postroad-profile/postroad.mobileconfig
"""

Play = Callable[..., Run]


def one_after_the_other(play: Play, *options: str, **variables: Any) -> Run:
    """The run, which did what the check run before it had shown, and nothing else."""
    told = play("site", INVENTORY, "--limit=relay1", *options, check=True, **variables)
    done = play("site", INVENTORY, "--limit=relay1", *options, **variables)
    assert (told.status, done.status) == (0, 0), told.output + done.output
    assert told.changes == done.changes
    assert set(done.changes["relay1"]) == {TASK}
    return done


def places(run: Run) -> set[str]:
    return {part["before_header"].rpartition("/")[2] for part in run.changes["relay1"][TASK]["diff"]}


@pytest.fixture(scope="module", autouse=True)
def as_before(play: Play) -> Any:
    yield
    assert play("site", INVENTORY, "--limit=relay1").status == 0


def test_another_title_is_shown_before_it_is_served(
    play: Play, get: Get, eventually: Callable[[Callable[[], bool]], bool]
) -> None:
    done = one_after_the_other(play, relay_settings_service=OTHER, relay_settings_hsts=60)
    assert {"config-v1.1.xml", "autodiscover.xml", "profile.plist", "nginx.conf"} <= places(done)
    # nginx has been told to reload; a worker from before may answer for a moment yet.
    assert eventually(lambda: "Other" in get("relay1", "/mail/config-v1.1.xml").text)
    assert eventually(lambda: "strict-transport-security" in get("relay1", "/mail/config-v1.1.xml").headers)
    page = get("relay1", "/mail/config-v1.1.xml")
    assert "<displayName>Other &lt;mail&gt;</displayName>" in page.text
    assert page.headers["strict-transport-security"] == "max-age=60"
    assert "strict-transport-security" not in get("relay1", "/mail/config-v1.1.xml", scheme="http").headers


def test_what_a_hand_changed_is_put_back(play: Play, get: Get, relays: dict[str, Relay]) -> None:
    relays["relay1"].host.check_output(BY_HAND)
    done = one_after_the_other(play, relay_settings_service=OTHER, relay_settings_hsts=60)
    assert places(done) == {"config-v1.1.xml", "evil.html", "answers", "units", "signature of the profile"}
    assert get("relay1", "/evil.html").status == 404
    assert "evil" not in get("relay1", "/mail/config-v1.1.xml").text


def test_all_of_it_can_be_taken_away(play: Play, get: Get, relays: dict[str, Relay]) -> None:
    done = one_after_the_other(play, relay_settings_state="absent")
    assert "postroad-settings.service" in places(done)
    assert get("relay1", "/reach.json").status == 503
    left = "ls -d /etc/postroad-settings /run/postroad-* /etc/systemd/system/*/postroad-settings* 2>/dev/null"
    assert "settings" not in relays["relay1"].host.run(left).stdout
