# SPDX-License-Identifier: GPL-3.0-or-later
"""When a certificate is renewed, for which key, and what happens when it does not work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from relay_agent.certificates.chain import new_key
from relay_agent.certificates.journal import read_renewals
from relay_agent.certificates.name_servers import Seen
from relay_agent.certificates.renewal import Outcome
from relay_agent.certificates.settings import NameServer
from tests.unit.certificates.authority import chain_for
from tests.unit.certificates.world import DAY, NAME, URL, World


def test_the_first_one(world: World) -> None:
    world.runs = False
    outcome = world.run()
    assert outcome == Outcome(True, "there is none", True, unproved="relay-agent.service does not run")
    assert world.reloads == 0
    assert world.key != world.next_key
    found = read_renewals(world.directory)
    assert found is not None
    assert (found.renewed, found.authority, found.next_key) == (world.now, URL, world.next_key)


def test_nothing_is_due(issued: World) -> None:
    chain = issued.pairs.chain()
    issued.now += 59 * DAY
    assert issued.run() == Outcome(False, "", True)
    assert issued.pairs.chain() == chain


def test_thirty_days_before_its_end_it_is_renewed_with_the_key_that_was_made_ahead(issued: World) -> None:
    following = issued.next_key
    issued.now += 60.1 * DAY
    outcome = issued.run()
    assert (outcome.changed, outcome.reason) == (True, "it ends on 2026-07-30")
    assert issued.key == following
    assert issued.next_key != following
    assert issued.reloads == 1
    assert issued.events == ["certificate_renewed"]


def test_one_for_days_is_renewed_in_its_last_third(world: World) -> None:
    world.days = 6
    world.run()
    world.now += 3.9 * DAY
    assert not world.run().changed
    world.now += 0.2 * DAY
    assert world.run().changed


def _other_names(world: World) -> None:
    key = world.pairs.key()
    world.pairs.put_in_use(chain_for(key, "other.example"), key)


def _other_authority(world: World) -> None:
    world.url = "https://other.example/dir"


def _from_elsewhere(world: World) -> None:
    key = world.pairs.key()
    world.pairs.put_in_use(chain_for(key, NAME), key)


def _damaged(world: World) -> None:
    (world.directory / "privkey.pem").write_text(new_key())


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_other_names, "it is for other.example"),
        (_other_authority, "it is not from https://other.example/dir"),
        (_from_elsewhere, f"it is not from {URL}"),
        (_damaged, "the key in use does not belong to it"),
    ],
)
def test_other_reasons(issued: World, change: Callable[[World], None], reason: str) -> None:
    change(issued)
    outcome = issued.run()
    assert (outcome.changed, outcome.reason) == (True, reason)


def test_an_authority_that_is_down(issued: World) -> None:
    chain = issued.pairs.chain()
    issued.now += 61 * DAY
    issued.authority_says = "connection refused"
    outcome = issued.run()
    assert outcome == Outcome(False, "it ends on 2026-07-30", True, ("connection refused",))
    assert issued.pairs.chain() == chain
    issued.now += 40 * DAY
    assert not issued.run().usable
    found = read_renewals(issued.directory)
    assert found is not None
    assert (found.problem, found.failing) == ("connection refused", issued.now - 40 * DAY)
    assert issued.events == ["certificate_renewal_failed"] * 2
    issued.authority_says = ""
    assert issued.run().changed
    found = read_renewals(issued.directory)
    assert found is not None
    assert (found.problem, found.failing) == ("", 0)


@pytest.mark.parametrize("fault", ["reload_says", "port_says"])
def test_the_old_pair_comes_back(issued: World, fault: str) -> None:
    chain, following = issued.pairs.chain(), issued.next_key
    setattr(issued, fault, "no")
    outcome = issued.run(at_once=True)
    assert not outcome.changed
    assert outcome.problems[0].startswith("the new certificate does not work: no; the one before is in")
    assert issued.pairs.chain() == chain
    assert issued.next_key == following
    assert issued.reloads == 2
    assert issued.events == ["certificate_put_back", "certificate_renewal_failed"]


@pytest.mark.parametrize(
    ("names", "days", "said"),
    [(("other.example",), 90, f"is not for {NAME}"), ((NAME,), 0, "is this host's clock right")],
)
def test_a_certificate_that_would_not_serve_is_not_tried(
    issued: World, names: tuple[str, ...], days: float, said: str
) -> None:
    chain = issued.pairs.chain()
    issued.names, issued.days = names, days
    outcome = issued.run(at_once=True)
    assert said in outcome.problems[0]
    assert issued.pairs.chain() == chain
    assert issued.reloads == 0


# ---- TLSA records -------------------------------------------------------------------------------------


@pytest.fixture
def announced(world: World) -> World:
    """A relay whose keys are published by itself."""
    world.tlsa = True
    world.dns = NameServer(server="192.0.2.53", key_name="relay", key_secret="c2VjcmV0", ttl=3600)
    assert world.run().changed
    return world


def test_the_next_key_is_published_before_it_is_used(announced: World) -> None:
    assert announced.records == {announced.key, announced.next_key}
    following = announced.next_key
    announced.now += 3600
    announced.run(at_once=True)
    assert announced.key == following
    assert announced.records == {following, announced.next_key}


def test_a_record_that_is_not_old_enough_keeps_the_key(announced: World) -> None:
    key, following = announced.key, announced.next_key
    announced.now += 3599
    assert announced.run(at_once=True).changed
    assert (announced.key, announced.next_key) == (key, following)


def test_a_record_that_goes_away_begins_anew(announced: World) -> None:
    key = announced.key
    announced.now += 7200
    announced.records.clear()
    announced.run(at_once=True)
    assert announced.key == key
    assert announced.records == {key, announced.next_key}
    announced.now += 3600
    announced.run(at_once=True)
    assert announced.key != key


def test_a_name_server_that_refuses_holds_up_no_renewal(announced: World) -> None:
    key = announced.key
    announced.records.clear()
    announced.server_says = "REFUSED"
    outcome = announced.run(at_once=True)
    assert outcome.changed
    assert set(outcome.problems) == {"REFUSED"}
    assert announced.key == key


def test_records_that_are_pasted_by_hand(world: World) -> None:
    world.tlsa = True
    world.run()
    key, following = world.key, world.next_key
    assert "certificate_tlsa_missing" in world.events
    assert world.run(at_once=True).problems == ()
    assert world.key == key
    world.records = {key, following}
    world.run()
    world.now += 3600
    world.run(at_once=True)
    assert world.key == following


def test_without_records_nothing_is_asked(issued: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any) -> Seen:
        raise AssertionError

    monkeypatch.setattr(issued, "look", never)
    assert issued.run(at_once=True).changed
