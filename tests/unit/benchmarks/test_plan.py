# SPDX-License-Identifier: GPL-3.0-or-later
"""A load goes to loopback only, is bounded, and is divided without a remainder lost."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from benchmarks.load.plan import MAX_COUNT, Plan, PlanError, build_message, share

PLAN = Plan(port=2525)


@pytest.mark.parametrize("address", ["127.0.0.1", "127.255.0.3", "::1"])
def test_loopback_is_taken(address: str) -> None:
    replace(PLAN, address=address).check()


@pytest.mark.parametrize(
    "address", ["192.0.2.1", "0.0.0.0", "::", "2001:db8::1", "localhost", "", "127.0.0.1.nip.test"]
)
def test_nothing_beyond_loopback(address: str) -> None:
    with pytest.raises(PlanError):
        replace(PLAN, address=address).check()


@pytest.mark.parametrize(
    "change",
    [
        {"port": 0},
        {"clients": 0},
        {"clients": 10_001},
        {"count": MAX_COUNT + 1},
        {"seconds": 601},
        {"rate": -1},
        {"size": 10},
        {"user": "alice"},
        {"recipient": "a@b>\r\nDATA"},
    ],
)
def test_what_has_no_bound_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(PlanError):
        replace(PLAN, **change).check()


@pytest.mark.parametrize("processes", [1, 2, 3, 7])
def test_shares_add_up(processes: int) -> None:
    plan = replace(PLAN, clients=20, count=101, rate=50.0)
    shares = share(plan, processes)
    assert sum(each.clients for each in shares) == 20
    assert sum(each.count for each in shares) == 101
    assert sum(each.rate for each in shares) == pytest.approx(50.0)
    assert len({each.seed for each in shares}) == len(shares)


def test_no_process_without_a_client() -> None:
    assert len(share(replace(PLAN, clients=1), 8)) == 1


@pytest.mark.parametrize("size", [256, 300, 4096, *range(4097, 4180), 1_000_000])
def test_message_has_its_size_and_ends_a_line(size: int) -> None:
    message = build_message(replace(PLAN, size=size))
    assert len(message) == size
    assert message.endswith(b"\r\n")
    assert message.count(b"\n") == message.count(b"\r") == message.count(b"\r\n")
    assert b"\n." not in message
    assert b"\r\n\r\n" in message
