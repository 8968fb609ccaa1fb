# SPDX-License-Identifier: GPL-3.0-or-later
"""Who leaves the list and who comes back: one watcher, and several that share a list."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest

from relay_agent.failover.judgement import Judge, Rules, Verdict, View

RULES = Rules(failures=3, successes=2, gap=60.0, overruled=900.0, memory=3600.0)
ME, A, B, C = "192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"
SECONDS = 10.0


class Watcher:
    """A judge at a host, with what it sees. The list is shared by all that are given the same one."""

    def __init__(self, others: Iterable[str], *, own: str = ME, listed: set[str] | None = None) -> None:
        self.judge = Judge(RULES, [own], others)
        self.fleet = [own, *others]
        self.listed = {own, *others} if listed is None else listed
        self.now = 0.0
        self.said: list[Verdict] = []

    def look(
        self, dead: Iterable[str] = (), *, held: Iterable[str] = (), outside: bool = True, times: int = 1
    ) -> list[str]:
        """So many looks, in which these addresses do not answer; what was done."""
        done = []
        for _ in range(times):
            self.now += SECONDS
            answers = {address: address not in set(dead) for address in self.fleet}
            view = View(self.now, frozenset(self.listed), answers, frozenset(held), outside)
            verdict = self.judge.look(view)
            self.said.append(verdict)
            if verdict.action == "withdraw":
                self.listed.discard(verdict.address)
            elif verdict.action == "restore":
                self.listed.add(verdict.address)
            if verdict.action:
                self.judge.done(verdict, self.now)
                done.append(f"{verdict.action} {verdict.address}")
        return done


def test_nothing_happens_while_all_answer() -> None:
    assert Watcher([A, B]).look(times=100) == []


def test_a_dead_one_goes_after_so_many_failures_in_a_row() -> None:
    watcher = Watcher([A, B])
    assert watcher.look([A], times=2) == []
    assert watcher.look([A]) == [f"withdraw {A}"]
    assert watcher.said[-1].because == "it missed 3 looks in a row"
    assert watcher.look([A], times=50) == []


def test_one_answer_in_between_begins_the_row_anew() -> None:
    watcher = Watcher([A, B])
    for _ in range(20):
        assert watcher.look([A], times=2) == []
        assert watcher.look() == []


def test_it_comes_back_when_it_answers_again() -> None:
    watcher = Watcher([A, B])
    watcher.look([A], times=3)
    assert watcher.look() == []
    assert watcher.look() == [f"restore {A}"]


@pytest.mark.parametrize("others", [[A], [A, B], [A, B, C]])
def test_the_last_one_stays(others: list[str]) -> None:
    """Whoever dies, and in whatever order: the list is never empty."""
    watcher = Watcher(others)
    for number in range(1, len(others) + 1):
        watcher.look(others[:number], times=10)
    watcher.look([ME, *others], times=50)
    assert watcher.listed


def test_two_relays_the_other_one_goes() -> None:
    watcher = Watcher([A])
    assert watcher.look([A], times=3) == [f"withdraw {A}"]
    assert watcher.look([A, ME], times=20) == []
    assert watcher.listed == {ME}
    assert "it stays" in watcher.said[-1].because


def test_an_own_port_that_does_not_answer_keeps_the_last_other_in_the_list() -> None:
    """Both are dead as seen from here: who knows."""
    watcher = Watcher([A])
    assert watcher.look([A, ME], times=20) == []


def test_when_most_others_look_dead_it_is_me() -> None:
    watcher = Watcher([A, B, C])
    assert watcher.look([A, B], times=50) == []
    assert watcher.said[-1].because == "2 of 3 others do not answer: it may be this host"
    assert watcher.look([A, B, C], times=50) == []


def test_half_of_the_others_is_not_most() -> None:
    watcher = Watcher([A, B])
    assert watcher.look([A], times=3) == [f"withdraw {A}"]


def test_those_that_begin_to_fail_count_among_the_dead() -> None:
    """A split shows at one address first, since looks are not at the same moment."""
    watcher = Watcher([A, B, C])
    watcher.look([A], times=2)
    assert watcher.look([A, B]) == []
    assert watcher.look([A, B, C]) == []


def test_who_has_long_been_out_is_no_sign_of_a_split() -> None:
    watcher = Watcher([A, B])
    watcher.look([A], times=3)
    watcher.look([A], times=1000)
    assert watcher.look([A, B], times=3) == [f"withdraw {B}"]


def test_a_lone_sibling_stays_when_nothing_else_answers_either() -> None:
    watcher = Watcher([A])
    assert watcher.look([A], times=20, outside=False) == []
    assert "this host that is cut off" in watcher.said[-1].because
    assert watcher.look([A]) == [f"withdraw {A}"]


def test_another_sibling_that_answers_is_a_witness_too() -> None:
    watcher = Watcher([A, B])
    watcher.look([B], times=3)  # B is out, and comes to life, but not long enough to be back
    watcher.look([A, B], times=2)
    assert watcher.look([A], outside=False) == [f"withdraw {A}"]


def test_the_own_address_goes_when_the_own_port_is_dead() -> None:
    watcher = Watcher([A, B])
    assert watcher.look([ME], times=3) == [f"withdraw {ME}"]
    assert "own port" in watcher.said[-1].because


def test_a_drained_one_goes_at_once_and_stays_out() -> None:
    watcher = Watcher([A, B])
    assert watcher.look(held=[A]) == [f"withdraw {A}"]
    assert watcher.look(held=[A], times=500) == []
    assert watcher.look(times=2) == [f"restore {A}"]


def test_this_host_drained_is_not_put_back_by_itself() -> None:
    watcher = Watcher([A])
    assert watcher.look(held=[ME]) == [f"withdraw {ME}"]
    assert watcher.look(held=[ME], times=500) == []


def test_the_last_one_stays_even_when_it_is_drained() -> None:
    watcher = Watcher([A], listed={ME})
    assert watcher.look([A], held=[ME], times=20) == []


def test_what_flaps_comes_back_ever_later() -> None:
    watcher = Watcher([A, B])
    waits = []
    for _ in range(5):
        assert watcher.look([A], times=3)[-1] == f"withdraw {A}"
        looks = 1
        while not watcher.look():
            looks += 1
        waits.append(looks)
    assert waits == [2, 4, 8, 16, 32]


def test_flapping_is_forgotten_after_a_time() -> None:
    watcher = Watcher([A, B])
    for _ in range(3):
        watcher.look([A], times=3)
        watcher.look(times=20)
    watcher.look(times=int(RULES.memory / SECONDS) + 1)
    watcher.look([A], times=3)
    assert watcher.look(times=2) == [f"restore {A}"]


def test_who_is_overruled_leaves_it_alone() -> None:
    """Another watcher sees it alive: the way from here to there is broken. The two do not fight."""
    watcher = Watcher([A, B])
    assert watcher.look([A], times=3) == [f"withdraw {A}"]
    watcher.listed.add(A)
    looks = int(RULES.overruled / SECONDS) - 1
    assert watcher.look([A], times=looks) == []
    assert "others put it back" in watcher.said[-1].because
    assert watcher.look([A], times=3) == [f"withdraw {A}"]
    watcher.listed.add(A)
    assert watcher.look([A], times=2 * looks) == []


def test_an_answer_ends_that() -> None:
    watcher = Watcher([A, B])
    watcher.look([A], times=3)
    watcher.listed.add(A)
    watcher.look([A])
    watcher.look(times=2)
    assert watcher.look([A], times=3) == [f"withdraw {A}"]


@pytest.mark.parametrize("jump", [-5.0, -1e9, 61.0, 1e9])
def test_what_was_counted_before_a_jump_of_the_clock_does_not_count(jump: float) -> None:
    """The host slept, or was moved to another machine."""
    watcher = Watcher([A, B])
    watcher.look([A], times=2)
    watcher.now += jump - SECONDS
    assert watcher.look([A], times=2) == []
    assert watcher.look([A]) == [f"withdraw {A}"]


def test_successes_before_a_jump_do_not_count_either() -> None:
    watcher = Watcher([A, B])
    watcher.look([A], times=3)
    watcher.look()
    watcher.now += 1000
    assert watcher.look() == []
    assert watcher.look() == [f"restore {A}"]


def test_a_look_that_came_to_nothing_begins_the_row_anew() -> None:
    watcher = Watcher([A, B])
    watcher.look([A], times=2)
    watcher.judge.blind()
    assert watcher.look([A], times=2) == []
    assert watcher.look([A]) == [f"withdraw {A}"]


def test_a_list_that_changed_while_nobody_looked_is_no_overruling() -> None:
    watcher = Watcher([A, B], listed={ME, B})
    watcher.look([A], times=5)
    watcher.judge.blind()
    watcher.listed.add(A)
    assert watcher.look([A], times=3) == [f"withdraw {A}"]


def test_a_host_that_is_out_puts_itself_back_when_all_in_the_list_are_dead() -> None:
    """Both had been dead; who is up again first would wait for the other one."""
    watcher = Watcher([A], listed={A})
    assert watcher.look([A], times=2) == []
    assert watcher.look([A]) == [f"restore {ME}"]
    assert watcher.look([A]) == [f"withdraw {A}"]


def test_it_does_not_while_it_is_cut_off() -> None:
    watcher = Watcher([A], listed={A})
    assert watcher.look([A], times=50, outside=False) == []


def test_a_host_that_others_do_not_reach_does_not_put_itself_back() -> None:
    """It reaches them, and its own port, and yet nobody may come in: then the others know better."""
    watcher = Watcher([A], listed={A})
    assert watcher.look(times=1000) == []


def test_an_empty_list_is_filled() -> None:
    watcher = Watcher([A, B], listed=set())
    assert watcher.look() == []
    assert watcher.look(times=2) == [f"restore {A}", f"restore {B}"]
    assert watcher.look(times=20) == [], "the others put this host back, as they do each other"


def test_two_that_see_each_other_no_more_both_stay_in_the_end() -> None:
    """The way between them is broken, and travellers reach both."""
    listed = {ME, A}
    one, other = Watcher([A], own=ME, listed=listed), Watcher([ME], own=A, listed=listed)
    for _ in range(50):
        one.look([A])
        assert listed
        other.look([ME])
        assert listed
    assert listed == {ME, A}


def test_an_address_of_somebody_else_is_neither_touched_nor_relied_on() -> None:
    foreign = "203.0.113.9"
    watcher = Watcher([A], listed={A, foreign})
    assert watcher.look([A, ME], times=30) == []
    assert foreign in watcher.listed


def test_one_change_at_a_time() -> None:
    """With each, the condition of the next is looked at anew."""
    watcher = Watcher([A, B, C, "192.0.2.5"])
    assert watcher.look([A, B], times=3) == [f"withdraw {A}"]


@pytest.mark.parametrize("seed", range(40))
def test_a_fleet_with_failures_at_random(seed: int) -> None:
    """Four watchers and one list: it is never empty, and in the end it has exactly those that live."""
    chance = random.Random(seed)
    fleet = [ME, A, B, C]
    listed = set(fleet)
    watchers = {own: Watcher([each for each in fleet if each != own], own=own, listed=listed) for own in fleet}
    dead: set[str] = set()
    for _ in range(300):
        if chance.random() < 0.05:
            dead.symmetric_difference_update({chance.choice(fleet)})
        for own, watcher in watchers.items():
            if own not in dead:
                watcher.look(dead)
            assert listed
    dead = {chance.choice(fleet)}
    for _ in range(2000):
        for own, watcher in watchers.items():
            if own not in dead:
                watcher.look(dead)
    assert listed == set(fleet) - dead


@pytest.mark.parametrize("seed", range(20))
def test_a_split_fleet_keeps_its_list(seed: int) -> None:
    """Half of the fleet sees the other half no more, and both reach the name server."""
    chance = random.Random(seed)
    fleet = [ME, A, B, C]
    half = set(chance.sample(fleet, 2))
    listed = set(fleet)
    watchers = {own: Watcher([each for each in fleet if each != own], own=own, listed=listed) for own in fleet}
    for _ in range(200):
        for own, watcher in watchers.items():
            watcher.look(set(fleet) - half if own in half else half)
    assert listed == set(fleet)
