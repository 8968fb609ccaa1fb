# SPDX-License-Identifier: GPL-3.0-or-later
"""`make bench`: the agent and Postfix on this machine, in turn, as a table and as JSON.

Each row of the table is measured in rounds; in each round both relays are started fresh, one after the other,
the order changing from round to round. Needs root (Postfix does) and Debian's postfix and sasl2-bin.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.check import compare_generators
from benchmarks.measure import ROOT, Bench, Sizes
from benchmarks.rivals.relay import RelayError
from benchmarks.rows import ROWS, Load, Result, Row, Sample, combine, judge
from benchmarks.table import markdown, text
from benchmarks.waiting import ROWS as WAITING_ROWS

__all__ = ["main"]

OWN_ROWS = ("observed", "signed", "idle", "queued", *WAITING_ROWS)
_IDLE_LIMIT = 60 * 1024  # bytes a session
_START_LIMIT = 10.0  # seconds with a full queue
_QUEUED_RATIO = 0.8
_OBSERVED_SHARE = 10.0  # percent


def say(line: str) -> None:
    """Progress, apart from the table."""
    print(f"  {line}", file=sys.stderr, flush=True)


def compare(bench: Bench, row: Row, peaks: list[float]) -> Result:
    """One row; `peaks` collects what Postfix accepted at most."""
    taken: dict[str, list[Sample]] = {"agent": [], "postfix": []}
    rate = 0.0
    if row.load.of_postfix_peak:
        if not peaks:
            with bench.relay("postfix") as (relay, sink):
                peaks.append(bench.sample(relay, sink, Load()).accepted)
        rate = max(peaks) * row.load.of_postfix_peak
        say(f"{row.key}: {rate:.0f} messages/s, half of Postfix's peak")
    for turn in range(bench.sizes.rounds):
        for name in ("postfix", "agent") if turn % 2 == 0 else ("agent", "postfix"):
            with bench.relay(name) as (relay, sink):
                sample = bench.sample(relay, sink, row.load, rate)
            taken[name].append(sample)
            say(f"{row.key}: {name} {sample.figure(row.figure):,.1f} {row.unit} {sample.note}")
    if row.key == "plain-new":
        peaks.append(combine(taken["postfix"]).accepted)
    return judge(row, taken["agent"], taken["postfix"])


def idle(bench: Bench) -> Result:
    """What silent sessions cost the agent."""
    count = bench.sizes.idle
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = count + 200
    target = f"<= {_IDLE_LIMIT // 1024} KB each"
    if hard != resource.RLIM_INFINITY and hard < needed:
        why = f"not possible here: {needed} descriptors are needed, ulimit -Hn says {hard}"
        return Result("idle", f"{count:,} idle TLS sessions", "KB", 0, 0, 0, target, False, why)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, needed), hard))
    each, ready = bench.idle(count)
    why = "" if ready == count else f"only {ready} sessions came up"
    say(f"idle: {each / 1024:.1f} KB a session, {ready} sessions")
    return Result(
        "idle", f"{count:,} idle TLS sessions", "KB", each / 1024, 0, 0, target, each <= _IDLE_LIMIT and not why, why
    )


def share(bench: Bench, key: str, title: str, much: str, little: str, target: float | None) -> Result:
    """What part of a busy agent's processor time one thing takes: the agent `much` has it, the agent `little` has not;
    `postfix` stands for the latter. target: percent at most."""
    taken: dict[str, list[Sample]] = {much: [], little: []}
    for turn in range(max(2, bench.sizes.rounds)):
        for name in (much, little) if turn % 2 == 0 else (little, much):
            with bench.relay(name) as (relay, sink):
                taken[name].append(bench.sample(relay, sink, Load(kept=True)))
            say(f"{key}: {name} {taken[name][-1].cpu:.3f} ms/msg")
    having, without = combine(taken[much]), combine(taken[little])
    part = (1 - without.cpu / having.cpu) * 100 if having.cpu else 0.0
    good = not having.failed and not without.failed
    return Result(
        key,
        title,
        "%",
        part,
        0,
        0,
        "" if target is None else f"<= {target:g} %",
        None if target is None else part <= target and good,
        f"{having.cpu:.3f} ms/msg with, {without.cpu:.3f} without",
        having,
        without,
        {name: [asdict(each) for each in samples] for name, samples in taken.items()},
    )


def queued(bench: Bench, count: int) -> Result:
    """Whether a full queue makes the agent slower; `postfix` stands for the agent with none."""
    empty, full, starts = [], [], []
    place = bench.filled(count)
    for _ in range(bench.sizes.rounds):
        empty.append(bench.start_with(None)[1])
        seconds, sample = bench.start_with(place)
        full.append(sample)
        starts.append(seconds)
        say(
            f"queued: {empty[-1].accepted:,.0f} msg/s with none, {sample.accepted:,.0f} with {count:,}; {seconds:.1f} s"
        )
    with_none, with_many = combine(empty), combine(full)
    ratio = with_many.accepted / with_none.accepted if with_none.accepted else 0.0
    met = ratio >= _QUEUED_RATIO and max(starts) <= _START_LIMIT and not with_many.failed
    return Result(
        "queued",
        f"{count:,} queued, kept, accepted (against none queued)",
        "msg/s",
        with_many.accepted,
        0,
        ratio,
        f">= {_QUEUED_RATIO:g}, start <= {_START_LIMIT:g} s",
        met,
        f"with none {with_none.accepted:,.0f} msg/s; starts in {max(starts):.1f} s"
        + (f"; {with_many.note}" if with_many.note else ""),
        with_many,
        Sample(),
        {"none": [asdict(each) for each in empty], "queued": [asdict(each) for each in full]},
    )


def machine() -> dict[str, Any]:
    """What the figures were taken on."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=12"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.strip()
    postfix = subprocess.run(
        ["dpkg-query", "-W", "-f", "${Version}", "postfix"], capture_output=True, text=True, check=False
    ).stdout.strip()
    return {
        "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "commit": commit or "unknown",
        "postfix": postfix,
        "processor": model,
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_before": os.getloadavg()[0],
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """See the module's docstring. Exit status 1 when a target was missed, 2 when it could not be measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round of 3 s each, 20,000 queued")
    parser.add_argument(
        "--rows", help=f"of {', '.join([row.key for row in ROWS])}, {', '.join(OWN_ROWS)}; comma between"
    )
    parser.add_argument("--rounds", type=int, help="times that each row is measured")
    parser.add_argument("--seconds", type=float, help="of load in each measurement")
    parser.add_argument("--queued", type=int, help="messages in the queue for the row `queued` (1,000,000)")
    parser.add_argument("--idle", type=int, help="sessions for the row `idle` (5,000)")
    parser.add_argument("--no-check", action="store_true", help="do not hold the generator against smtp-source")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    parser.add_argument("--directory", default="/var/tmp", help="on the disk to be measured")
    options = parser.parse_args(arguments)
    keys = [row.key for row in ROWS] + list(OWN_ROWS)
    wanted = options.rows.split(",") if options.rows else keys
    if unknown := set(wanted) - set(keys):
        parser.error(f"no such row: {', '.join(sorted(unknown))}")
    sizes = Sizes(quick=options.quick)
    sizes.rounds = options.rounds or sizes.rounds
    sizes.seconds = options.seconds or sizes.seconds
    sizes.idle = options.idle or sizes.idle
    count = options.queued or (20_000 if options.quick else 1_000_000)

    # So that nothing is left running when the benchmark is ended early.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    about = machine()
    place = Path(tempfile.mkdtemp(prefix="postroad-bench-", dir=options.directory))
    place.chmod(0o755)  # Postfix's own user must be able to enter
    results: list[Result] = []
    checked: dict[str, float] = {}
    try:
        bench = Bench(place, sizes, say)
        if not options.no_check:
            checked = compare_generators(bench)
        peaks: list[float] = []
        results += [compare(bench, row, peaks) for row in ROWS if row.key in wanted]
        if "observed" in wanted:
            title = "log and metrics: part of the CPU per message (plain, kept)"
            results.append(share(bench, "observed", title, "agent", "muted", _OBSERVED_SHARE))
        if "signed" in wanted:
            title = "DKIM by RSA and Ed25519: part of the CPU per message (plain, kept)"
            results.append(share(bench, "signed", title, "signing", "agent", None))
        if "idle" in wanted:
            results.append(idle(bench))
        if "queued" in wanted:
            results.append(queued(bench, count))
        results += [make(bench, quick=options.quick) for key, make in WAITING_ROWS.items() if key in wanted]
    except RelayError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    finally:
        shutil.rmtree(place, ignore_errors=True)

    about["load_after"] = os.getloadavg()[0]
    record = {**about, "quick": options.quick, "generators": checked, "rows": [asdict(result) for result in results]}
    build = ROOT / ".build"
    build.mkdir(exist_ok=True)
    # A run of some rows does not replace the record of a whole one.
    (build / ("bench-rows.json" if options.rows else "bench.json")).write_text(json.dumps(record, indent=2) + "\n")
    if options.json:
        print(json.dumps(record, indent=2))
    else:
        print(f"\n{about['processor']}, {about['cores']} cores; Postfix {about['postfix']}; commit {about['commit']}")
        if checked:
            print("load generator, messages/s: " + ", ".join(f"{key} {value:,.0f}" for key, value in checked.items()))
        print("CPU, memory and latencies: ours / Postfix; a latency counts from the wish to send to the 250\n")
        print(markdown(results) if options.markdown else text(results))
    return int(any(result.met is False for result in results))


if __name__ == "__main__":
    sys.exit(main())
