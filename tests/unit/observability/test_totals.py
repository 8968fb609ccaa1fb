# SPDX-License-Identifier: GPL-3.0-or-later
import json
from collections.abc import Mapping
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from relay_agent.observability.metrics import Label, Registry, Snapshot
from relay_agent.observability.totals import Totals


def registry() -> Registry:
    made = Registry("p_")
    made.counter("mail", "Mail.", Label("port"))
    made.histogram("seconds", "Seconds.", (1,))
    made.gauge("now", "Now.")
    return made


def mail(count: float, port: str = "587") -> Snapshot:
    return {"p_mail_total": [[[port], [count]]]}


def total(totals: Totals, own: Snapshot | None = None, port: str = "587") -> float:
    return totals.sums(own or {})["p_mail_total"].get((port,), [0])[0]


def test_workers_are_added_up() -> None:
    totals = Totals(registry())
    totals.told(1, {**mail(3), "p_seconds": [[[], [1, 2, 7.5]]]})
    totals.told(2, {**mail(4, "465"), "p_seconds": [[[], [1, 0, 0.5]]]})
    totals.told(1, {**mail(5), "p_seconds": [[[], [1, 2, 7.5]]]})
    sums = totals.sums(mail(1))
    assert sums == {"p_mail_total": {("587",): [6], ("465",): [4]}, "p_seconds": {(): [2, 2, 8.0]}}


def test_what_a_worker_counted_stays_when_it_ends() -> None:
    totals = Totals(registry())
    totals.told(1, mail(3))
    totals.ended(1)
    totals.ended(1)
    totals.ended(7)
    totals.told(2, mail(1))
    assert total(totals) == 4


def test_adding_up_changes_nothing_that_is_kept() -> None:
    totals = Totals(registry())
    totals.told(1, mail(3))
    totals.ended(1)
    totals.told(2, mail(1))
    assert [total(totals, mail(1)) for _ in range(3)] == [5, 5, 5]


def test_another_program_of_the_process_goes_on() -> None:
    before = Totals(registry())
    for serial in (1, 2, 3):
        before.told(serial, mail(serial))
    before.ended(1)
    state = json.loads(json.dumps(before.export(mail(10))))
    after = Totals(registry())
    after.restore(state, alive=[2])  # 3 ended in between
    assert total(after) == 16
    after.told(2, mail(5))
    after.ended(2)
    assert total(after, mail(1)) == 20


def test_numbers_of_another_release_that_do_not_fit_are_left_out() -> None:
    totals = Totals(registry())
    totals.told(1, {"p_unknown_total": [[[], [1]]], "p_mail_total": [[["587", "x"], [1]], [["587"], [2]]]})
    totals.told(2, {"p_seconds": [[[], [1, 2, 3, 4]]], "p_now": [[[], [1]]]})
    assert totals.sums({}) == {"p_mail_total": {("587",): [2]}, "p_seconds": {(): [0, 0, 0]}}


STEPS = st.lists(st.tuples(st.sampled_from(["count", "tell", "end", "replace"]), st.integers(0, 2)), max_size=60)


@given(STEPS)
def test_no_total_ever_goes_back(steps: list[tuple[str, int]]) -> None:
    totals = Totals(registry())
    counted = [0, 0, 0]
    serials = [0, 1, 2]
    shown = 0.0
    for step, place in steps:
        if step == "count":
            counted[place] += 1
        elif step == "tell":
            totals.told(serials[place], mail(counted[place]))
        elif step == "end":
            totals.ended(serials[place])
            serials[place] += 3
            counted[place] = 0
        else:
            state: Mapping[str, Any] = json.loads(json.dumps(totals.export({})))
            totals = Totals(registry())
            totals.restore(dict(state), alive=serials)
        assert total(totals) >= shown
        shown = total(totals)
