# SPDX-License-Identifier: GPL-3.0-or-later
"""What an authority issued is kept until it serves, and no authority is asked more often than it likes."""

from __future__ import annotations

import contextlib
import errno
import stat
from pathlib import Path

import pytest

from relay_agent.certificates import renewal
from relay_agent.certificates.chain import new_key, read_leaf
from relay_agent.certificates.issued import Issued, may_ask
from relay_agent.certificates.journal import Renewals, read_renewals
from relay_agent.certificates.pairs import Pairs
from relay_agent.certificates.settings import NameServer
from tests.unit.certificates.authority import chain_for
from tests.unit.certificates.world import DAY, NAME, World

LOOK = DAY / 4  # what the timer waits


class PowerCutError(Exception):
    """The machine went away."""


def shown(world: World) -> str:
    return read_leaf(world.pairs.chain()).fingerprint


# ---- a host that takes no mail ------------------------------------------------------------------------


@pytest.mark.parametrize(("state", "reloads"), [("drained", 1), ("stopped", 0)])
def test_one_that_is_due_where_no_port_is_open_is_put_in_use_and_proved_later(
    issued: World, state: str, reloads: int
) -> None:
    before = shown(issued)
    issued.now += 61 * DAY
    issued.is_drained, issued.runs = state == "drained", state == "drained"
    outcome = issued.run()
    assert (outcome.changed, outcome.problems) == (True, ())
    assert ("drained" if state == "drained" else "does not run") in outcome.unproved
    after = shown(issued)
    assert (after != before, issued.reloads, issued.events) == (True, reloads, ["certificate_renewed"])
    for _ in range(8):
        issued.now += LOOK
        assert issued.run().unproved == outcome.unproved
    issued.is_drained, issued.runs = False, True
    assert issued.run().unproved == ""
    assert (shown(issued), len(issued.asked)) == (after, 1)
    assert issued.events == ["certificate_renewed", "certificate_proved"]
    issued.run()
    assert issued.events[-1] == "certificate_proved"
    assert len(issued.events) == 2


def test_a_drain_that_begins_in_the_middle_of_the_proof(issued: World, monkeypatch: pytest.MonkeyPatch) -> None:
    before = shown(issued)

    def drained_meanwhile(*_: object) -> str:
        issued.is_drained = True
        return "port 465 has no handshake: Connection refused"

    monkeypatch.setattr(issued, "prove", drained_meanwhile)
    outcome = issued.run(at_once=True)
    assert (outcome.changed, outcome.problems) == (True, ())
    assert shown(issued) != before


def test_one_that_was_put_there_unproved_and_is_not_shown_is_told_of(issued: World) -> None:
    issued.is_drained = True
    issued.run(at_once=True)
    after = shown(issued)
    issued.is_drained, issued.port_says, issued.reloads = False, "port 465 shows another one", 0
    outcome = issued.run()
    assert outcome.problems == ("the certificate in use does not show itself: port 465 shows another one",)
    assert (shown(issued), issued.reloads, len(issued.asked)) == (after, 1, 1)
    assert issued.events[-1] == "certificate_not_shown"
    issued.port_says = ""
    assert issued.run().problems == ()


# ---- one that does not show itself --------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["reload_says", "port_says"])
def test_it_is_tried_again_and_no_other_is_asked_for(issued: World, fault: str) -> None:
    before = shown(issued)
    issued.now += 61 * DAY
    setattr(issued, fault, "no")
    for look in range(40):
        outcome = issued.run(at_once=look == 7)
        assert outcome.problems[0].startswith("the new certificate does not work: no; the one before is in")
        assert f"kept in {issued.directory}/issued" in outcome.problems[0]
        assert shown(issued) == before
        issued.now += LOOK
    assert len(issued.asked) == 1
    # The one in use, and none of those that were put back.
    assert len(list((issued.directory / "versions").iterdir())) == 1
    setattr(issued, fault, "")
    assert issued.run().changed
    assert (shown(issued) != before, len(issued.asked)) == (True, 1)
    assert read_leaf(issued.pairs.chain()).begins.timestamp() == issued.asked[0]
    assert not (issued.directory / "issued").exists()


def test_one_that_could_not_be_kept_counts(issued: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The authority has issued it, whatever the disk says."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    issued.now += 61 * DAY
    monkeypatch.setattr(Issued, "keep", full)
    for _ in range(200):
        with contextlib.suppress(OSError):
            issued.run()
        issued.now += LOOK
    assert 2 <= len(issued.asked) <= 3 + 200 * LOOK / (7 * DAY)


def test_where_the_one_before_has_ended_the_new_one_stays(issued: World) -> None:
    before = shown(issued)
    issued.now += 89.9 * DAY
    issued.port_says = "port 465 has no handshake: Connection refused"
    issued.run()
    assert shown(issued) == before
    issued.now += LOOK
    outcome = issued.run()
    assert (outcome.changed, outcome.usable) == (True, True)
    assert "it stays, as there is none before it that holds" in outcome.problems[0]
    after = shown(issued)
    assert after != before
    issued.now += LOOK
    assert issued.run().problems == (
        "the certificate in use does not show itself: port 465 has no handshake: Connection refused",
    )
    issued.port_says = ""
    issued.now += LOOK
    assert issued.run().problems == ()
    assert (shown(issued), len(issued.asked)) == (after, 1)


def test_the_first_one_stays_and_is_not_asked_for_again(world: World) -> None:
    world.port_says = "no"
    for _ in range(8):
        assert world.run().problems
        world.now += LOOK
    assert len(world.asked) == 1


def test_other_names_make_another_order(issued: World) -> None:
    issued.port_says = "no"
    issued.run(at_once=True)
    issued.port_says = ""
    issued.wanted = issued.names = (NAME, "smtp.example.org")
    assert issued.run().changed
    assert len(issued.asked) == 2
    assert read_leaf(issued.pairs.chain()).names == set(issued.wanted)


def test_one_that_is_due_itself_is_not_tried_any_more(issued: World) -> None:
    issued.port_says = "no"
    issued.run(at_once=True)
    issued.now += 61 * DAY
    issued.run()
    assert len(issued.asked) == 2


def test_one_whose_key_lost_its_record_does_not_serve(world: World) -> None:
    world.tlsa = True
    world.dns = NameServer(server="192.0.2.53", key_name="relay", key_secret="c2VjcmV0", ttl=3600)
    world.run()
    world.now += 3600
    key, world.port_says = world.key, "no"
    world.run(at_once=True)
    world.port_says = ""
    world.records.clear()
    outcome = world.run(at_once=True)
    assert outcome.changed
    assert (world.key, len(world.asked)) == (key, 3)


@pytest.mark.parametrize("place", ["put_in_use", "next_key_is_used", "prune"])
def test_a_run_that_breaks_off_costs_no_certificate(issued: World, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    def cut(*_: object) -> None:
        raise PowerCutError

    with monkeypatch.context() as patch:
        patch.setattr(Pairs, place, cut)
        with pytest.raises(PowerCutError):
            issued.run(at_once=True)
    assert issued.run().problems == issued.run(at_once=place == "put_in_use").problems == ()
    assert len(issued.asked) == 1
    assert issued.key != issued.next_key
    assert read_leaf(issued.pairs.chain()).begins.timestamp() == issued.asked[0]


def test_after_a_run_that_broke_off_before_the_reload_the_one_in_use_is_taken_up(
    issued: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut() -> None:
        raise PowerCutError

    with monkeypatch.context() as patch:
        patch.setattr(issued, "reload", cut)
        with pytest.raises(PowerCutError):
            issued.run(at_once=True)
    after = shown(issued)
    outcome = issued.run()
    assert (outcome.changed, outcome.problems, shown(issued)) == (True, (), after)
    assert (issued.reloads, len(issued.asked)) == (1, 1)


def test_where_nothing_can_be_written_nothing_is_asked_for(issued: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(renewal, "write_renewals", full)
    with pytest.raises(OSError, match="No space"):
        issued.run(at_once=True)
    assert issued.asked == []


# ---- one that does not serve --------------------------------------------------------------------------


def test_an_authority_that_issues_what_does_not_serve_is_asked_seldom(issued: World) -> None:
    issued.now += 61 * DAY
    issued.names = ("other.example",)
    for _ in range(28 * 4 - 1):
        outcome = issued.run()
        assert outcome.problems
        issued.now += LOOK
    weeks = [sum(begin <= asked < begin + 7 * DAY for asked in issued.asked) for begin in issued.asked]
    assert max(weeks) == 3
    assert len(issued.asked) == 6
    said = issued.run().problems[0]
    assert f"is not for {NAME}; it is not asked for another one before 2026-" in said
    issued.run(at_once=True)
    assert len(issued.asked) == 7
    issued.names = (NAME,)
    issued.run(at_once=True)
    found = read_renewals(issued.directory)
    assert found is not None
    assert (found.unused, found.problem) == (0, "")


def test_an_authority_that_adds_names_is_not_asked_at_every_look(world: World) -> None:
    world.names = (NAME, "www.example.org")
    world.run()
    world.now += LOOK
    assert not world.run().changed
    world.wanted = ("www.example.org",)
    world.names = world.wanted
    assert world.run().reason == "it is for relay.example.org, www.example.org"


def test_an_authority_that_is_down_is_asked_at_every_look(issued: World) -> None:
    issued.authority_says = "connection refused"
    issued.now += 61 * DAY
    assert issued.run().problems == issued.run().problems == ("connection refused",)


def test_a_clock_that_was_ahead_holds_nothing_up() -> None:
    renewals = Renewals(asked=9e9, order="x", unused=3)
    assert may_ask(renewals, "x", 1e9) == 0
    assert may_ask(renewals, "x", 9e9 + 1) == 9e9 + 4 * DAY
    assert may_ask(renewals, "y", 9e9 + 1) == 0


# ---- on the disk --------------------------------------------------------------------------------------


def test_nobody_but_root_reads_it(tmp_path: Path) -> None:
    issued, key = Issued(tmp_path), new_key()
    chain = chain_for(key, NAME)
    issued.keep(chain_for(key, "before.example"), key)
    issued.keep(chain, key)
    assert issued.pair() == (chain, key)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in [issued.place, *issued.place.iterdir()]}
    assert modes == {"issued": 0o700, "fullchain.pem": 0o600, "privkey.pem": 0o600}
    issued.forget()
    assert issued.pair() is None


@pytest.mark.parametrize("file", ["fullchain.pem", "privkey.pem"])
@pytest.mark.parametrize("content", [None, "", "x\n", new_key()])
def test_what_is_not_whole_is_none(tmp_path: Path, file: str, content: str | None) -> None:
    issued, key = Issued(tmp_path), new_key()
    issued.keep(chain_for(key, NAME), key)
    (issued.place / file).unlink()
    if content is not None:
        (issued.place / file).write_text(content)
    assert issued.pair() is None
