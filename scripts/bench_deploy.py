# SPDX-License-Identifier: GPL-3.0-or-later
"""`make bench-deploy`: how long deployment takes, against its targets; a table, and JSON in .build/.

The part `up` takes the lab of `make up` down and builds it again; the part `fleet` has a lab of thirty relays of its
own (bench_fleet.py). `make test` is not run here: its row comes from the last whole run on this checkout.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

from bench_figures import BenchFailedError, Figure, table, tasks_of_one_host, timed
from bench_fleet import ROWS, Fleet
from run_tests import RECORD as TEST_RECORD
from run_tests import commit
from streaming import ROOT, Stream

RESULT = ROOT / ".build/bench-deploy.json"
PARTS = ("up", "fleet")
PLAYBOOK = ["ansible-playbook", "-i", "inventories/lab"]


def kept() -> str:
    """What of earlier runs is still on this machine, so that nobody takes the figure for more than it is."""
    places = {
        "podman": Path("/usr/bin/podman"),
        "virtual environment": ROOT / ".venv",
        "wheelhouse": ROOT / ".cache",
    }
    images = subprocess.run(["podman", "images", "-q"], capture_output=True, text=True, check=False).stdout.split()
    found = [name for name, path in places.items() if path.exists()] + (["lab images"] if images else [])
    return f"kept from before: {', '.join(found)}" if found else "nothing kept from before"


def last_test_run() -> Figure:
    """The row of `make test`, of the last whole run."""
    # Twenty minutes were for the scenario `default` alone; there are nine by now.
    limit, target = 45 * 60.0, "45 min"
    if not TEST_RECORD.exists():
        return Figure("make test, everything", target, limit, None, "run `make test` first")
    record = json.loads(TEST_RECORD.read_text())
    failed = sum(stage["failed"] for stage in record["stages"])
    remark = f"run of {record['finished']} on {record['commit']}, {failed} failed"
    return Figure("make test, everything", target, limit, record["seconds"], remark)


def measure_up(stream: Stream) -> list[Figure]:
    """The rows of the lab of `make up`, in the order of the targets. Raises BenchFailedError."""
    timed(stream, "take the lab down", ["sh", "scripts/down.sh"])
    subprocess.run(["rm", "-rf", str(ROOT / ".venv"), str(ROOT / ".cache")], check=True)
    cold = kept()
    first, _ = timed(stream, "make up, from nothing", ["make", "up"])
    second, _ = timed(stream, "make up, again", ["make", "up"])
    site = [*PLAYBOOK, "playbooks/site.yml"]
    noop, output = timed(stream, "site.yml, nothing to change, one host", [*site, "--limit", "relay1"])
    change = ["-e", '{"relay_agent_submission": {"max_message_size": 26214400}}']
    changed, report = timed(stream, "one config value on two hosts", [*site, *change])
    if "changed=0" in report:
        raise BenchFailedError("the changed value changed nothing")
    timed(stream, "back to the inventory's value", site)
    return [
        Figure("make up, from nothing", "5 min", 300, first, cold),
        Figure("make up, again", "45 s", 45, second),
        Figure("site.yml with nothing to change, one host", "10 s", 10, noop),
        Figure("the same, tasks", "25", 25, tasks_of_one_host(output, "relay1"), unit="tasks"),
        Figure("one config value on two hosts", "15 s", 15, changed),
        last_test_run(),
    ]


def measure(stream: Stream, options: argparse.Namespace) -> list[Figure]:
    """All rows of the parts that are wanted. Raises BenchFailedError."""
    figures: list[Figure] = []
    if "up" in options.parts:
        figures += measure_up(stream)
    if "fleet" in options.parts:
        fleet = Fleet(stream, rival=options.rival)
        if not options.prepared:
            fleet.prepare()
        if not options.only_prepare:
            figures += fleet.measure(options.rows)
        if not (options.keep or options.prepared or options.only_prepare):
            fleet.remove()
    return figures


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line. Ends the program with a usage line when it makes no sense."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; default: all")
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS), help="of the part fleet; default: all")
    parser.add_argument("--rival", type=Path, help="directory of the role to compare with; default: from Galaxy")
    parser.add_argument("--keep", action="store_true", help="leave the lab of the part fleet up")
    parser.add_argument("--only-prepare", action="store_true", help="put that lab up, deploy, and measure nothing yet")
    parser.add_argument("--prepared", action="store_true", help="measure on that lab as it is, and leave it up")
    options = parser.parse_args(arguments)
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))} (expected {', '.join(PARTS)})")
    options.parts = options.parts or list(PARTS)
    return options


def record(figures: list[Figure], place: Path) -> None:
    """Write the figures, with commit and time, as JSON."""
    result = {
        "commit": commit(),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "figures": [asdict(figure) for figure in figures],
    }
    place.parent.mkdir(exist_ok=True)
    place.write_text(json.dumps(result, indent=2) + "\n")


def main() -> int:
    """Measure, print the table, write the JSON; exit status 1 when a command failed or a target was missed."""
    options = parse(sys.argv[1:])
    # The part `up` removes the environment that this program runs in: leave it before.
    if "up" in options.parts and Path(sys.executable).is_relative_to(ROOT):
        system = Path(sys.base_prefix) / "bin/python3"
        return subprocess.run([str(system), __file__, *sys.argv[1:]], cwd=ROOT, check=False).returncode
    stream = Stream()
    try:
        figures = measure(stream, options)
    except BenchFailedError as error:
        stream.say(f"\npostroad: {error}")
        return 1
    if not figures:
        return 0
    heading = ("what", "to reach", "measured", "", "remark")
    stream.say("\n" + table([heading, *(figure.cells for figure in figures)]))
    whole = set(options.parts) == set(PARTS) and options.rows == list(ROWS)
    place = RESULT if whole else RESULT.with_stem("bench-deploy-rows")
    record(figures, place)
    stream.say(f"written to {place.relative_to(ROOT)}")
    return int(any(figure.missed for figure in figures))


if __name__ == "__main__":
    sys.exit(main())
