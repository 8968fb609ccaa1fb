# SPDX-License-Identifier: GPL-3.0-or-later
"""`python -m benchmarks.load --port 2525 ...`: put load on a relay on loopback; prints JSON.

With --idle the clients sign in and stay silent; a line of JSON tells when all are there.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import time
from multiprocessing.connection import Connection
from typing import Any

from benchmarks.load import engine
from benchmarks.load.plan import Plan, PlanError, share

__all__ = ["main", "report", "run_processes"]


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


def main(arguments: list[str] | None = None) -> int:
    """See the module's docstring. Exit status 2 for a load that must not be run, 1 when a message failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load", description=__doc__)
    parser.add_argument("--address", default="127.0.0.1", help="of the loopback")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--tls", choices=("none", "starttls", "implicit"), default="none")
    parser.add_argument("--user", default="", help="sign in with AUTH PLAIN; the password comes from LOAD_PASSWORD")
    parser.add_argument("--kept", action="store_true", help="all messages of a client on one connection")
    parser.add_argument("--pipelined", action="store_true", help="MAIL, RCPT and DATA in one write")
    parser.add_argument("--resume", action="store_true", help="offer the previous TLS session")
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--size", type=int, default=4096, help="bytes of a message")
    parser.add_argument("--count", type=int, default=Plan.__dataclass_fields__["count"].default)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rate", type=float, default=0.0, help="messages a second, at random times; 0: no limit")
    parser.add_argument("--grace", type=float, default=30.0, help="seconds for what is under way at the end")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--idle", action="store_true", help="sign in, send nothing, stay for --seconds")
    options = vars(parser.parse_args(arguments))
    processes, idle = options.pop("processes"), options.pop("idle")
    plan = Plan(**options, password=os.environ.get("LOAD_PASSWORD", "") if options["user"] else "")
    try:
        plan.check()
    except PlanError as error:
        print(f"load: {error}", file=sys.stderr)
        return 2
    if idle:
        outcome = engine.hold(plan, lambda state: print(json.dumps({"ready": state.messages}), flush=True))
    else:
        outcome = run_processes(plan, processes)
    print(json.dumps(report(outcome, plan)), flush=True)
    return int(bool(outcome.failures))


if __name__ == "__main__":
    sys.exit(main())
