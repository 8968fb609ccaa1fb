# SPDX-License-Identifier: GPL-3.0-or-later
"""A full queue goes from an earlier release to this one, back, and forward again; each release delivers a part."""

from collections import Counter
from collections.abc import Callable
from typing import Any

from traffic.relays import Relay

_COUNT = 3000  # as prepare.yml submits
_HALF = _COUNT // 2  # for each of two domains


def test_the_new_release_has_every_message(count: Callable[[str], int], relays: dict[str, Relay]) -> None:
    assert count("relay1") == _COUNT
    relay = relays["relay1"]
    assert "queue pack" in relay.host.check_output("relay-agent queue pack --help")
    events = relay.events("queue_repaired")
    assert events == [], "nothing had to be repaired"


def test_some_were_tried_by_the_earlier_release(relays: dict[str, Relay]) -> None:
    tried = [message for message in relays["relay1"].queue() if message["recipients"][0]["attempts"]]
    assert tried, "deferred ones came along, with what is known of them"


def test_options_and_account_came_along(relays: dict[str, Relay]) -> None:
    wanted = [each for each in relays["relay1"].queue() if "+full-7@" in each["recipients"][0]["address"]]
    assert len(wanted) == 1
    assert wanted[0]["account"] == "alice"
    options = wanted[0]["recipients"][0]["options"]
    assert (options["NOTIFY"], options["ORCPT"]) == ("FAILURE", "rfc822;bob@example.test")


def test_the_earlier_release_does_not_take_the_newer_queue(
    play: Callable[..., Any], count: Callable[[str], int]
) -> None:
    run = play("site", "relay1", earlier=True)
    assert run.status != 0
    assert "written by a newer release (schema 2, this release knows 1)" in run.output
    assert count("relay1") == _COUNT, "and the host went back to the newer one"


def test_rollback_takes_the_queue_along_and_forward_again(
    play: Callable[..., Any], count: Callable[[str], int], relays: dict[str, Relay]
) -> None:
    relay = relays["relay1"].host
    # 2: the earlier release does not know the command.
    for status in (2, 0):
        run = play("rollback", "relay1", relay_rollback_to="previous")
        assert run.status == 0, run.output
        assert relay.run("relay-agent queue pack --help").rc == status
        assert count("relay1") == _COUNT
        assert relay.check_output("systemctl is-active relay-agent.socket") == "active"


def test_back_to_the_earlier_release(
    play: Callable[..., Any], count: Callable[[str], int], relays: dict[str, Relay]
) -> None:
    lowered = play("queue_downgrade", "relay1", relay_queue_schema=1)
    assert lowered.status == 0, lowered.output
    assert relays["relay1"].host.run("systemctl is-active relay-agent.socket").rc != 0
    site = play("site", "relay1", earlier=True)
    assert site.status == 0, site.output
    assert count("relay1") == _COUNT
    relay = relays["relay1"].host
    assert relay.run("relay-agent queue pack --help").rc == 2, "it is the earlier one"
    assert relay.check_output("systemctl is-active relay-agent.socket") == "active"


def test_the_earlier_release_delivers_a_part(
    mail_host: Callable[[str], None], relays: dict[str, Relay], wait_for_count: Callable[..., int]
) -> None:
    # Those that were not tried yet are due, whichever domain they are for.
    relays["relay1"].host.check_output("relay-agent queue hold --destination beta.test")
    mail_host("start")
    relays["relay1"].host.check_output("relay-agent queue retry --destination alpha.test")
    assert wait_for_count("relay1", _HALF) == _HALF


def test_forward_again_and_the_rest_is_delivered(
    play: Callable[..., Any], relays: dict[str, Relay], count: Callable[[str], int], wait_for_count: Callable[..., int]
) -> None:
    site = play("site", "relay1")
    assert site.status == 0, site.output
    assert count("relay1") == _HALF
    relays["relay1"].host.check_output("relay-agent queue release --all")
    assert wait_for_count("relay1", 0) == 0


def test_each_message_arrived_once(arrived: Callable[[str, int], Counter[str]]) -> None:
    found = arrived("full", _COUNT)
    assert len(found) == _COUNT
    assert set(found.values()) == {1}
