# SPDX-License-Identifier: GPL-3.0-or-later
import json

import pytest

from relay_agent.config.schema import Policy
from relay_agent.policy.guessing import Guard, ShutOutError, Verdict, network_of

from .test_buckets import Clock

POLICY = Policy(guesses=5, shut_out="15m", shut_out_max="1h")
HOME, OFFICE = "192.0.2.0/24", "198.51.100.0/24"


def guess(guard: Guard, clock: Clock, password: bytes, name: str = "alice", network: str = HOME) -> Verdict:
    clock.now += guard.before(name, network, password, POLICY)
    verdict = guard.failed(name, network, password, POLICY)
    clock.now += verdict.delay
    return verdict


def test_delays_grow_and_then_the_door_is_shut() -> None:
    clock = Clock()
    guard = Guard(clock)
    verdicts = [guess(guard, clock, b"%d" % number) for number in range(5)]
    assert [verdict.delay for verdict in verdicts] == [1, 1, 1, 2, 4]
    assert [verdict.shut_out for verdict in verdicts] == [0, 0, 0, 0, 900]
    with pytest.raises(ShutOutError) as caught:
        guard.before("alice", HOME, b"right", POLICY)
    assert 890 < caught.value.seconds <= 900
    clock.now += 900
    assert guard.before("alice", HOME, b"right", POLICY) == 0
    guard.succeeded("alice", HOME)
    assert len(guard) == 0


def test_each_shut_out_is_longer_up_to_a_limit() -> None:
    clock = Clock()
    guard = Guard(clock)
    lengths = []
    for round_ in range(4):
        for number in range(5):
            verdict = guess(guard, clock, b"%d %d" % (round_, number))
        lengths.append(verdict.shut_out)
        clock.now += verdict.shut_out
    assert lengths == [900, 1800, 3600, 3600]


def test_an_office_is_not_shut_out_for_one_of_its_accounts() -> None:
    clock = Clock()
    guard = Guard(clock)
    for number in range(5):
        guess(guard, clock, b"%d" % number)
    assert guard.before("bob", HOME, b"x", POLICY) == 0
    assert guard.before("alice", OFFICE, b"x", POLICY) == 0


def test_a_phone_with_an_old_password_never_shuts_anybody_out() -> None:
    clock = Clock()
    guard = Guard(clock)
    for _ in range(100):
        assert guess(guard, clock, b"old") == Verdict(1.0, 0.0)
    assert guard.before("alice", HOME, b"right", POLICY) <= 1


def test_guesses_at_the_same_moment_are_counted() -> None:
    clock = Clock()
    guard = Guard(clock)
    for number in range(5):
        guard.before("alice", HOME, b"%d" % number, POLICY)
    with pytest.raises(ShutOutError):
        guard.before("alice", HOME, b"5", POLICY)
    # The same password from many connections is one.
    for _ in range(100):
        guard.before("alice", HOME, b"0", POLICY)
    guard.dropped("alice", HOME, b"4")
    guard.before("alice", HOME, b"5", POLICY)


def test_they_wait_for_one_another() -> None:
    clock = Clock()
    guard = Guard(clock)
    for number in range(4):
        guess(guard, clock, b"%d" % number)
    clock.now -= 2
    waits = [guard.before("alice", HOME, b"4", POLICY) for _ in range(3)]
    assert waits == [2, 4, 6]


def test_memory_is_bounded_and_old_guesses_are_forgotten() -> None:
    clock = Clock()
    guard = Guard(clock, most=100)
    for number in range(1000):
        guard.failed(f"name {number}", HOME, b"x", POLICY)
        assert len(guard) <= 101
    clock.now += POLICY.shut_out_max + 1
    guard.failed("last", HOME, b"x", POLICY)
    assert len(guard) == 1


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.77", "192.0.2.0/24"),
        ("::ffff:192.0.2.77", "192.0.2.0/24"),
        ("2001:db8:1:2:3::4", "2001:db8:1::/56"),
        ("fe80::1%eth0", "fe80::/56"),
        ("", ""),
    ],
)
def test_networks(address: str, network: str) -> None:
    assert network_of(address, POLICY) == network


def test_the_figures_are_those_of_the_configuration() -> None:
    policy = Policy(guess_delay="2s", guess_delay_max="5s", guess_prefix_ipv4=16, guess_prefix_ipv6=48)
    assert network_of("192.0.2.77", policy) == "192.0.0.0/16"
    assert network_of("2001:db8:1:2:3::4", policy) == "2001:db8:1::/48"
    guard = Guard(Clock())
    delays = [guard.failed("alice", HOME, b"%d" % number, policy).delay for number in range(6)]
    assert delays == [2, 2, 2, 4, 5, 5]


def test_processes_share_what_they_know() -> None:
    clock = Clock()
    told: list[list[str]] = []
    first, second = Guard(clock, tell=told.append), Guard(clock)
    second.restore(json.loads(json.dumps(first.export())))
    for number in range(4):
        guess(first, clock, b"%d" % number)
    guess(first, clock, b"0")  # once more the same, also for the other one
    for each in json.loads(json.dumps(told)):
        second.hear(each, POLICY)
    assert second.failed("alice", HOME, b"4", POLICY).shut_out == 900
    assert not any(b"alice".hex() in text for each in told for text in each)
    # One that begins later gets it all, and so does the next program of the same process.
    third = Guard(clock)
    third.restore(json.loads(json.dumps(second.export())))
    with pytest.raises(ShutOutError):
        third.before("alice", HOME, b"right", POLICY)
    assert third.before("bob", HOME, b"right", POLICY) == 0


def test_a_pardon_is_shared_and_a_right_password_without_a_wrong_one_is_no_news() -> None:
    clock = Clock()
    told: list[list[str]] = []
    first, second = Guard(clock, tell=told.append), Guard(clock)
    second.restore(first.export())
    first.before("alice", HOME, b"right", POLICY)
    first.succeeded("alice", HOME)
    assert told == []
    for number in range(4):
        guess(first, clock, b"%d" % number)
    second.before("alice", HOME, b"under way", POLICY)
    first.succeeded("alice", HOME)
    for each in told:
        second.hear(each, POLICY)
    assert second.failed("alice", HOME, b"under way", POLICY) == Verdict(1.0, 0.0)
    assert len(first) == 0
