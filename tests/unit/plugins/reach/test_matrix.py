# SPDX-License-Identifier: GPL-3.0-or-later
"""Vantages whose answers make no sense: they cost nobody else's report."""

from typing import Any

import pytest
from ansible_collections.postroad.relay.plugins.plugin_utils.reach.matrix import read_matrix
from ansible_collections.postroad.relay.plugins.plugin_utils.reach.relays import relays_of

from tests.unit.plugins.reach_example import LISTENERS, authority, relays, seen, tried

WHOLE = seen("a")


def matrix(told: Any) -> Any:
    """Of an honest vantage, and of one that says this on the relay."""
    odd = {"item": "odd", "relays": {"a": told}}
    wanted = relays_of(["a"], relays("a"), LISTENERS, [])
    return read_matrix(wanted, [tried("home", a=WHOLE), odd], authority("a"))


@pytest.mark.parametrize(
    "told",
    [
        "attempts",
        7,
        {"attempts": 7},
        {"attempts": ["x"]},
        {"attempts": [{}]},
        {"attempts": [WHOLE[0] | {"end": "well"}]},
        {"attempts": [WHOLE[0] | {"port": float("inf")}]},
        {"attempts": [WHOLE[0] | {"shown": {"problem": "", "der": "!", "version": ""}}]},
        {"attempts": WHOLE[:1]},
    ],
)
def test_what_cannot_be_read_is_said_and_the_others_are_shown(told: Any) -> None:
    read = matrix(told)
    assert read.unknown["a", "odd"].startswith("its answer cannot be read: ")
    assert len(read.at("a", "home")) == 6
    assert read.at("a", "odd") == []


def test_ports_that_nobody_asked_for_are_left_out() -> None:
    read = matrix({"attempts": [*WHOLE, *({**each, "port": 22} for each in WHOLE)]})
    assert {one.port for one in read.at("a", "odd")} == {587, 465, 443}
    assert read.unknown == {}


def test_a_reason_without_end_is_cut() -> None:
    assert len(matrix({"problem": "x" * 9999}).unknown["a", "odd"]) == 300
