# SPDX-License-Identifier: GPL-3.0-or-later
"""One load from several processes, and what came of it as plain data.

Not in `__main__`: multiprocessing's children cannot import from there when it was started with `-m`.
"""

from __future__ import annotations

import multiprocessing
import time
from multiprocessing.connection import Connection
from typing import Any

from benchmarks.load import engine
from benchmarks.load.plan import Plan, share

__all__ = ["report", "run_processes"]


def report(outcome: engine.Outcome, plan: Plan) -> dict[str, Any]:
    """The outcome as what is printed."""
    seconds = max(outcome.ended - outcome.began, 1e-9)
    return {
        "messages": outcome.messages,
        "seconds": round(seconds, 4),
        "rate": round(outcome.messages / seconds, 1),
        "megabytes_per_second": round(outcome.messages * plan.size / seconds / 1e6, 2),
        "connections": outcome.connections,
        "failed": outcome.failures.total(),
        "failures": dict(outcome.failures.most_common(10)),
        "began": outcome.began,
        "ended": outcome.ended,
        "accepted_ms": outcome.accepted.summary(),
        "whole_ms": outcome.whole.summary(),
        "generator_cpu_seconds": round(outcome.cpu, 3),
    }


def run_processes(plan: Plan, processes: int) -> engine.Outcome:
    """The load from several processes that begin at the same moment."""
    plan.check()
    shares = share(plan, processes)
    if len(shares) == 1:
        return engine.run(shares[0], time.monotonic())
    context = multiprocessing.get_context("spawn")
    running = []
    for each in shares:
        here, there = context.Pipe()
        process = context.Process(target=_child, args=(each, there))
        process.start()
        there.close()
        running.append((process, here))
    total = engine.Outcome()
    try:
        for _, pipe in running:
            pipe.recv()  # it is ready
        begin = time.monotonic() + 0.05
        for _, pipe in running:
            pipe.send(begin)
        for _, pipe in running:
            total.merge(pipe.recv())
    except EOFError:
        total.failures["a process of the generator ended early"] += 1
        for process, _ in running:
            process.terminate()
    for process, pipe in running:
        process.join()
        pipe.close()
    return total


def _child(plan: Plan, pipe: Connection) -> None:
    pipe.send("ready")
    pipe.send(engine.run(plan, pipe.recv()))
    pipe.close()
