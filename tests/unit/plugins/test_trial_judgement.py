# SPDX-License-Identifier: GPL-3.0-or-later
"""What counts as worse than before, and what does not."""

import json
import time
from typing import Any

import pytest
from ansible_collections.postroad.relay.plugins.module_utils.trial_judgement import (
    judge,
    observe,
    queue_moves,
    rises,
)

from relay_agent.control.queue_view import describe
from relay_agent.queue.body import MemoryBody
from relay_agent.queue.model import AWAITS, Envelope, Message, Recipient, RecipientState

SIGN_IN = 'postroad_host_troubles_total{cause="sign_in"}'
FAULT = 'postroad_messages_refused_total{reason="fault"}'
OUTCOME = 'postroad_delivery_outcomes_total{outcome="%s"}'


def message(
    queue_id: str, attempts: int = 1, *, state: str = "waiting", domain: str = "a.test", due: float = 5.0
) -> Any:
    recipient = {"state": state, "attempts": attempts, "next_attempt": due, "address": f"bob@{domain}"}
    return {"id": queue_id, "recipients": [recipient]}


class Agent:
    """Answers as the agent's commands do."""

    def __init__(self) -> None:
        self.metrics = f'# HELP x y\n{SIGN_IN} 2\n{FAULT} 0\npostroad_attempt_seconds_bucket{{le="0.01"}} 5\n'
        self.messages: list[Any] = []
        self.status: dict[str, Any] = {"running": True, "uptime": 100.0, "workers": [{"state": "running"}]}
        self.groups: list[Any] = []
        self.retried: list[str] = []
        self.broken: set[str] = set()  # commands that fail

    def __call__(self, args: list[str]) -> tuple[int, str, str]:
        if args[1] in self.broken:
            return 1, "", "relay-agent: the agent answered nothing within 30 s\n"
        match args[1:]:
            case ["status", "--json"]:
                return (0, json.dumps(self.status), "") if self.status["running"] else (1, "", "not running")
            case ["metrics"]:
                return 0, self.metrics, ""
            case ["queue", "list", "--groups", "--json"]:
                return 0, json.dumps(self.groups), ""
            case ["queue", "list", "--json", *ids]:
                found = [each for each in self.messages if not ids or each["id"] in ids]
                return int(len(found) < len(ids)), json.dumps(found), ""
            case ["queue", "retry", *ids]:
                self.retried += ids
                return 0, "", ""
        raise AssertionError(args)


def risen(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Where nothing happened while the change was made."""
    return rises(before, before, now)


def numbers(uptime: float, **counters: float) -> dict[str, Any]:
    names = {
        "sign_in": SIGN_IN,
        "fault": FAULT,
        "ended": 'postroad_worker_restarts_total{cause="exit"}',
        **{name: OUTCOME % name for name in ("delivered", "deferred", "failed")},
    }
    return {"uptime": uptime, "counters": {names[name]: value for name, value in counters.items()}}


def test_what_is_observed() -> None:
    agent = Agent()
    agent.messages = [
        message("A1", 3, due=9.0),
        message("A2", 2, due=5.0),
        message("HELD", 2, state="held", domain="b.test"),
        message("NEW", 0, domain="c.test"),
        message("D1", 1, domain="d.test"),
    ]
    found = observe(agent)
    assert abs(found.pop("at") - time.time()) < 60
    assert found == {
        "uptime": 100.0,
        "counters": {SIGN_IN: 2.0, FAULT: 0.0},
        "waits": {"A2": 2, "D1": 1},
        "unasked": [],
    }
    # Where none answers, that is all there is to say.
    agent.status["running"] = False
    agent.broken = {"metrics", "queue"}
    found = observe(agent, sleep=lambda _: None)
    assert (found["uptime"], found["counters"], found["waits"], found["unasked"]) == (0.0, {}, {}, [])


@pytest.mark.parametrize("name", ["fault", "ended"])
def test_our_own_faults_must_not_rise_at_all(name: str) -> None:
    assert risen(numbers(100, **{name: 4}), numbers(110, **{name: 4})) == []
    (problem,) = risen(numbers(100, **{name: 4}), numbers(110, **{name: 5}))
    assert problem.endswith("has risen by 1")


def test_troubles_of_others_may_go_on_as_before() -> None:
    assert risen(numbers(1000, sign_in=1000), numbers(1010, sign_in=1030, deferred=5)) == []
    assert risen(numbers(1000), numbers(1010, sign_in=2, deferred=5)) == []
    # Hosts that another one stands in for.
    assert risen(numbers(1000), numbers(1010, sign_in=9, delivered=5, deferred=1)) == []
    (problem,) = risen(numbers(1000), numbers(1010, sign_in=3, delivered=5, deferred=2))
    assert problem == f"{SIGN_IN} has risen by 3 in 10 s, much faster than before"


@pytest.mark.parametrize("old", [0, 1, 2, 5])
def test_a_restart_between_the_two_does_not_hide_a_fault(old: int) -> None:
    """The new agent's counters began at nothing, whatever the old one had counted."""
    before, switched = numbers(1000, fault=old), numbers(1, fault=0)
    assert rises(before, switched, numbers(3, fault=2)) == [f"{FAULT} has risen by 2"]


def test_nor_where_the_old_agent_was_younger_than_the_new_one_is() -> None:
    before = numbers(20, fault=5) | {"at": 1000.0}
    switched, now = numbers(1) | {"at": 1004.0}, numbers(40, fault=4) | {"at": 1043.0}
    assert rises(before, switched, now) == [f"{FAULT} has risen by 4"]
    # The same agent, although both looks had to wait for their answer.
    waited = numbers(63, fault=5) | {"at": 1042.0}
    assert rises(before, numbers(25, fault=5) | {"at": 1004.0}, waited) == []


def test_an_agent_that_ended_by_itself_is_told() -> None:
    (problem,) = rises(numbers(1000), numbers(1003), numbers(2))
    assert problem == "the agent has ended since the change, and was started anew by systemd"


def test_deliveries_that_fail_all_at_once_are_noticed() -> None:
    before = numbers(1000, delivered=900, deferred=100)
    assert risen(before, numbers(1010, delivered=905, deferred=105)) == []
    (problem,) = risen(before, numbers(1010, delivered=900, deferred=110))
    assert problem == "0% of 10 attempts have delivered since the change, 90% did before"
    # Too few to say, or no worse than it always was.
    assert risen(before, numbers(1010, delivered=900, deferred=109)) == []
    assert risen(numbers(1000, deferred=100), numbers(1010, deferred=120)) == []


def test_an_old_trouble_does_not_hide_a_new_one() -> None:
    before = numbers(1000, delivered=100, deferred=900)
    (problem,) = risen(before, numbers(1010, delivered=100, deferred=930))
    assert problem.startswith("0% of 30 attempts")


def test_what_was_delivered_before_the_switch_says_nothing() -> None:
    before, switched = numbers(1000, delivered=900), numbers(1003, delivered=990)
    (problem,) = rises(before, switched, numbers(1010, delivered=990, deferred=20))
    assert problem.startswith("0% of 20 attempts")


def test_mail_that_waited_is_tried_and_that_is_enough() -> None:
    agent = Agent()
    agent.messages = [message("A", 2), message("B", 2)]
    assert queue_moves(agent, {"A": 1, "B": 2}, sleep=lambda _: None) == []
    assert agent.retried == ["A", "B"]
    assert queue_moves(agent, {"GONE": 1}, sleep=lambda _: None) == []
    assert queue_moves(agent, {}, sleep=lambda _: None) == []


@pytest.mark.parametrize(
    ("label", "active", "moves"), [("mx.a.test:25", 1, True), ("mx.a.test", 0, False), ("b", 1, False)]
)
def test_an_attempt_that_takes_long_is_one(label: str, active: int, moves: bool) -> None:
    agent = Agent()
    agent.messages = [message("A", 2)]
    agent.messages[0]["recipients"][0]["last_host"] = "mx.a.test"
    agent.status["delivery"] = {"destinations": [{"hosts": [label], "active": active}]}
    assert (queue_moves(agent, {"A": 2}, within=0.0, sleep=lambda _: None) == []) is moves


def test_mail_that_waits_for_a_call_is_not_asked_for() -> None:
    agent = Agent()
    agent.messages = [message("A", 2)]
    agent.messages[0]["recipients"][0]["options"] = {AWAITS: "a.test"}
    assert observe(agent)["waits"] == {}


def test_mail_that_stays_where_it_is_is_told() -> None:
    agent = Agent()
    agent.messages = [message("A", 2)]
    assert queue_moves(agent, {"A": 2}, within=0.0, sleep=lambda _: None) == [
        "mail that waited before is not tried any more: A"
    ]


@pytest.mark.parametrize(
    ("broken", "told"),
    [("metrics", "relay-agent metrics gave no answer: "), ("queue", "relay-agent queue list gave no answer: ")],
)
def test_what_could_not_be_asked_is_no_good_news(broken: str, told: str) -> None:
    agent = Agent()
    well = observe(agent)
    agent.broken = {broken}
    words = f"{told}relay-agent: the agent answered nothing within 30 s"
    assert judge(agent, well, well, sleep=lambda _: None) == [f"now, {words}"]
    unasked = observe(agent, sleep=lambda _: None)
    agent.broken = set()
    assert judge(agent, unasked, well) == [f"before the change, {words}"]
    assert judge(agent, well, unasked) == [f"right after the change, {words}"]


def test_an_agent_that_answers_a_moment_later_is_asked_again() -> None:
    agent = Agent()
    agent.messages = [message("A", 2)]
    agent.broken = {"metrics", "queue"}
    found = observe(agent, sleep=lambda _: agent.broken.clear())
    assert (found["unasked"], found["waits"], found["counters"][SIGN_IN]) == ([], {"A": 2}, 2.0)


def test_mail_that_waits_is_known_by_what_the_agent_says() -> None:
    """In the words of its own queue, which no double can be trusted with."""
    agent = Agent()
    for queue_id, state in (("A", RecipientState.WAITING), ("HELD", RecipientState.HELD)):
        recipients = {0: Recipient(f"bob@{queue_id}.test", state=state, attempts=2, next_attempt=5.0)}
        kept = Message(queue_id, Envelope("alice@a.test"), recipients, MemoryBody(b"x"), created=1.0, expires=9.0)
        agent.messages.append(describe(kept))
    assert observe(agent)["waits"] == {"A": 2}


def test_no_answer_about_mail_that_waited_does_not_mean_that_it_is_tried() -> None:
    agent = Agent()
    agent.messages = [message("A", 2)]
    agent.broken = {"queue"}
    (problem,) = queue_moves(agent, {"A": 1}, within=0.0, sleep=lambda _: None)
    assert problem.startswith("whether mail that waited before is tried could not be seen, as relay-agent queue list")

    def mend(_: float) -> None:
        agent.broken = set()

    assert queue_moves(agent, {"A": 1}, sleep=mend) == []


def test_metrics_without_a_single_one_are_no_answer() -> None:
    agent = Agent()
    agent.metrics = ""
    assert observe(agent, sleep=lambda _: None)["unasked"] == ["relay-agent metrics gave no answer: exit status 0"]


def test_the_verdict_has_the_words_of_the_hosts() -> None:
    agent = Agent()
    before = {**observe(agent), "waits": {}}
    assert judge(agent, before, before) == []
    agent.metrics = f"{SIGN_IN} 9\n{OUTCOME % 'deferred'} 3\n"
    agent.groups = [
        {"destination": "a.test", "recipients": 2, "reason": "not now"},
        {"destination": "b.test", "recipients": 7, "reason": "smarthost: 535 wrong password"},
        {"destination": "c.test", "recipients": 9, "reason": ""},
    ]
    assert judge(agent, before, before)[1:] == [
        "waits for b.test (7): smarthost: 535 wrong password",
        "waits for a.test (2): not now",
    ]


def test_an_agent_that_does_not_work_is_told() -> None:
    agent = Agent()
    before = {**observe(agent), "waits": {}}
    well = dict(agent.status)
    agent.status["workers"] = [{"state": "leaving"}]
    assert judge(agent, before, before)[0] == "no worker takes mail"
    agent.status = {"running": False}
    assert judge(agent, before, before, sleep=lambda _: None) == ["no agent answers"]
    assert judge(agent, before, before, sleep=lambda _: agent.status.update(well)) == []
