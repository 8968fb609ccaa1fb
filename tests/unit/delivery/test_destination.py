# SPDX-License-Identifier: GPL-3.0-or-later
"""What waits for a destination, and how its hosts' behaviour shows."""

from __future__ import annotations

from relay_agent.delivery.destination import Destination
from relay_agent.delivery.outcome import Deferred
from relay_agent.delivery.route import Security, Target, Way
from relay_agent.delivery.shaping import Limit, Peer

from .memory_store import make_message

ONE, TWO = (Target(name, 25, Security.OPPORTUNISTIC) for name in ("one.test", "two.test"))
WAY = Way(((10, ONE), (20, TWO)))
REFUSED = Deferred("4.4.1", "connection refused", "one.test")


def test_recipients_of_one_message_share_a_job_while_it_waits() -> None:
    destination = Destination(WAY)
    message = make_message("a@a.test", "b@b.test", "c@a.test")
    destination.add(message, {0: message.recipients[0]}, most=2)
    destination.add(message, {1: message.recipients[1], 2: message.recipients[2]}, most=2)
    first, second = destination.take(), destination.take()
    assert first is not None
    assert second is not None
    assert (set(first.recipients), set(second.recipients)) == ({0, 1}, {2})
    assert destination.take() is None
    destination.add(message, {0: message.recipients[0]}, most=2)
    assert destination.waiting == 1


def test_a_job_put_back_is_next() -> None:
    destination = Destination(WAY)
    for each in (make_message("a@a.test"), make_message("b@a.test")):
        destination.add(each, each.recipients, most=100)
    job = destination.take()
    assert job is not None
    destination.put_back(job)
    assert destination.take() is job
    assert job.returned == 1


def test_dropped_messages_leave_the_line() -> None:
    destination = Destination(WAY)
    one, two = make_message("a@a.test"), make_message("b@a.test")
    for each in (one, two):
        destination.add(each, each.recipients, most=100)
    assert [job.message for job in destination.drop(frozenset({one.queue_id}))] == [one]
    assert [job.message for job in destination.take_all()] == [two]


def test_a_host_with_trouble_is_tried_last_until_it_works() -> None:
    destination = Destination(WAY)
    assert destination.targets() == [ONE, TWO]
    destination.note_trouble(ONE, REFUSED)
    assert destination.targets() == [TWO, ONE]
    destination.note_success(ONE)
    assert destination.targets() == [ONE, TWO]


def test_connections_grow_with_success_to_the_limit_and_fall_with_trouble() -> None:
    peer = Peer(Limit(5))
    destination = Destination(WAY, peer)
    for _ in range(10):
        destination.note_success(ONE)
    assert peer.most == 5
    destination.block(REFUSED, 60, 3600)
    assert peer.most == 1
    assert 29 < destination.blocked_for <= 30
    assert destination.trouble is REFUSED
    destination.unblock()
    assert destination.blocked_for == 0


def test_errors_stay_visible() -> None:
    destination = Destination(WAY)
    assert destination.forgettable
    destination.note_trouble(ONE, REFUSED)
    assert not destination.forgettable
    shown = destination.snapshot()
    assert shown["name"] == "one.test"
    assert shown["hosts"] == ["one.test", "two.test"]
    assert shown["last_error"] == "one.test: connection refused"
