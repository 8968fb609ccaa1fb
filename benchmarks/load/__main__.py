# SPDX-License-Identifier: GPL-3.0-or-later
"""`python -m benchmarks.load --port 2525 ...`: put load on a relay on loopback; prints JSON.

With --idle the clients sign in and stay silent; a line of JSON tells when all are there.
"""

from __future__ import annotations

import argparse
import json
import os
import sys

from benchmarks.load import engine
from benchmarks.load.plan import Plan, PlanError
from benchmarks.load.processes import report, run_processes

__all__ = ["main"]


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
