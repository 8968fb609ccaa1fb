# SPDX-License-Identifier: GPL-3.0-or-later
"""In which ways a host is spoken to; the handshakes are in tests/integration."""

from __future__ import annotations

import pytest

from relay_agent.delivery.tls.handshake import How, ways
from relay_agent.delivery.tls.policy import Demand, Kind


@pytest.mark.parametrize(
    ("demand", "expected"),
    [
        (Demand(Kind.OPPORTUNISTIC), [How.ANY_TLS, How.CLEAR]),
        (Demand(Kind.OPPORTUNISTIC, trial=True), [How.TRIAL, How.ANY_TLS, How.CLEAR]),
        (Demand(Kind.ENCRYPTED), [How.AS_DEMANDED]),
        (Demand(Kind.ENCRYPTED, trial=True), [How.TRIAL, How.AS_DEMANDED]),
        (Demand(Kind.VERIFIED), [How.AS_DEMANDED]),
        (Demand(Kind.DANE), [How.AS_DEMANDED]),
    ],
)
def test_ways(demand: Demand, expected: list[How]) -> None:
    assert list(ways(demand)) == expected


@pytest.mark.parametrize("trial", [False, True])
@pytest.mark.parametrize("kind", [kind for kind in Kind if kind is not Kind.OPPORTUNISTIC])
def test_no_strict_demand_ends_in_the_clear(kind: Kind, trial: bool) -> None:
    assert not {How.CLEAR, How.ANY_TLS}.intersection(ways(Demand(kind, trial=trial)))
