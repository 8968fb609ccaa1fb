# SPDX-License-Identifier: GPL-3.0-or-later
"""The tries of a whole fleet from one host, which judges nothing: playbooks/reach.yml sends this to a vantage.

Standard library only, see `attempt`.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

from relay_agent.probe.tries import SurveyError, Tries, addresses, trust
from relay_agent.probe.wire import as_json

__all__ = ["run"]

#: A home router forgets connections when hundreds begin at once, and what it drops would look like a blocked port.
_RELAYS_AT_ONCE = 6


def run(request: Mapping[str, Any]) -> dict[str, Any]:
    """Try every relay.

    request: `relays`, a list of `name`, `host` and `ports`; `authorities`, PEM, trusted besides the system's, or "";
    `within`, seconds for each relay. Returns `python`, its version, and `relays`: for each name `attempts` as `wire`
    writes them, or a `problem`.
    """
    authorities = str(request["authorities"]).encode("ascii", "replace")

    def one(relay: Mapping[str, Any]) -> dict[str, Any]:
        try:
            return _tried(str(relay["host"]), relay["ports"], authorities, float(request["within"]))
        except SurveyError as error:
            return {"problem": str(error)}

    relays = request["relays"]
    with ThreadPoolExecutor(_RELAYS_AT_ONCE) as pool:
        found = list(pool.map(one, relays))
    names = [str(relay["name"]) for relay in relays]
    return {"python": platform.python_version(), "relays": dict(zip(names, found, strict=True))}


def _tried(host: str, ports: Sequence[int], authorities: bytes, within: float) -> dict[str, Any]:
    context = trust(authorities)
    tries = Tries(host, addresses(host), context, time.monotonic() + within)
    tries.add(int(port) for port in ports)
    while pending := tries.pending():
        wait(pending)
    return {"attempts": [as_json(each) for each in tries.attempts()]}
