# SPDX-License-Identifier: GPL-3.0-or-later
"""Hold the load generator against Postfix's smtp-source: the same load on the same sink and the same relay."""

from __future__ import annotations

import subprocess
import time

from benchmarks.measure import Bench
from benchmarks.rivals.relay import Ports, RelayError
from benchmarks.rivals.sink import Sink
from benchmarks.rows import Load

__all__ = ["compare_generators"]


class _Bare:
    """The sink itself as the relay."""

    name = "sink"
    pid = 0

    def __init__(self, port: int) -> None:
        self.ports = Ports(port, port, port)

    def start(self) -> None:
        """It runs already."""

    def stop(self) -> None:
        """Its owner stops it."""

    def logged(self) -> str:
        """It keeps no log."""
        return ""


def _smtp_source(port: int, load: Load, count: int) -> float:
    """Messages a second of smtp-source; its -l is the length of the body, ours of the whole message."""
    command = ["smtp-source", "-s", str(load.clients), "-l", str(load.size - 200), "-m", str(count)]
    command += ["-f", "alice@alpha.test", "-t", "sink@bench.test", *(["-d"] if load.kept else [])]
    begun = time.monotonic()
    done = subprocess.run([*command, f"127.0.0.1:{port}"], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RelayError(f"smtp-source said: {done.stderr.strip()}")
    return count / (time.monotonic() - begun)


def compare_generators(bench: Bench) -> dict[str, float]:
    """Messages a second that each generator gets from the sink alone, and from Postfix, a connection a message."""
    found: dict[str, float] = {}
    seconds = bench.sizes.seconds
    sink = Sink()
    sink.start()
    try:
        for kept in (False, True):
            load = Load(kept=kept)
            title = "kept" if kept else "a connection each"
            ours = bench.run_generator(_Bare(sink.port), load, seconds=seconds)
            found[f"ours to the sink, {title}"] = ours["rate"]
            found[f"smtp-source to the sink, {title}"] = _smtp_source(sink.port, load, ours["messages"])
    finally:
        sink.stop()
    with bench.relay("postfix") as (relay, behind):
        bench.run_generator(relay, Load(), seconds=bench.sizes.warm_up)
        ours = bench.run_generator(relay, Load(), seconds=seconds)
        found["ours to Postfix"] = ours["rate"]
        behind.wait_for(ours["messages"], bench.sizes.drain)
        found["smtp-source to Postfix"] = _smtp_source(relay.ports.plain, Load(), ours["messages"])
    for key, value in found.items():
        bench.say(f"generator: {key} {value:,.0f} msg/s")
    return {key: round(value, 1) for key, value in found.items()}
