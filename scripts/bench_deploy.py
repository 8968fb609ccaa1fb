# SPDX-License-Identifier: GPL-3.0-or-later
"""`make bench-deploy`: how long deployment takes, against its targets; a table, and JSON in .build/.

It takes the lab of `make up` down and builds it again. `make test` is not run here: its row comes from the
last whole run on this checkout.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from run_tests import RECORD as TEST_RECORD
from run_tests import commit
from streaming import ROOT, Stream

RESULT = ROOT / ".build/bench-deploy.json"
PLAYBOOK = ["ansible-playbook", "-i", "inventories/lab"]


def table(rows: list[tuple[str, ...]]) -> str:
    """Left-aligned columns, the first row as heading."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [rows[0], tuple("-" * width for width in widths), *rows[1:]]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


class BenchFailedError(Exception):
    """A command that was to be measured failed; the text says which."""


@dataclass(frozen=True)
class Figure:
    """One row: what was measured, the target, and what it was; seconds and targets in seconds."""

    name: str
    target: str
    limit: float
    measured: float | None
    remark: str = ""

    @property
    def cells(self) -> tuple[str, ...]:
        """The row as it is shown."""
        if self.measured is None:
            return (self.name, self.target, "not measured", "", self.remark)
        shown = f"{self.measured:.0f}" if self.name.endswith("tasks") else f"{self.measured:.1f} s"
        return (self.name, self.target, shown, "reached" if self.measured <= self.limit else "MISSED", self.remark)


def timed(stream: Stream, what: str, command: list[str]) -> tuple[float, str]:
    """Seconds and output of a command. Raises BenchFailedError."""
    stream.say(f"\n=== {what}: {' '.join(command)}")
    outcome = stream.run(what, command)
    if outcome.status:
        raise BenchFailedError(f"{what} failed (exit status {outcome.status})")
    return outcome.seconds, outcome.output


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


def tasks_of_one_host(output: str, host: str) -> int:
    """Tasks that the recap counts for a host: ok (changed among them) and skipped."""
    match = re.search(rf"^{host}\s*:\s*ok=(\d+).*?skipped=(\d+)", output, re.M)
    if match is None:
        raise BenchFailedError(f"no recap line for {host}")
    return int(match[1]) + int(match[2])


def last_test_run() -> Figure:
    """The row of `make test`, of the last whole run."""
    limit, target = 20 * 60.0, "20 min"
    if not TEST_RECORD.exists():
        return Figure("make test, everything", target, limit, None, "run `make test` first")
    record = json.loads(TEST_RECORD.read_text())
    failed = sum(stage["failed"] for stage in record["stages"])
    remark = f"run of {record['finished']} on {record['commit']}, {failed} failed"
    return Figure("make test, everything", target, limit, record["seconds"], remark)


def measure(stream: Stream) -> list[Figure]:
    """All rows, in the order of the targets. Raises BenchFailedError."""
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
        Figure("the same, tasks", "25", 25, tasks_of_one_host(output, "relay1")),
        Figure("one config value on two hosts", "15 s", 15, changed),
        last_test_run(),
    ]


def main() -> int:
    """Measure, print the table, write the JSON; exit status 1 when a command failed or a target was missed."""
    # This program runs in the environment that it removes: leave it before.
    if Path(sys.executable).is_relative_to(ROOT):
        system = Path(sys.base_prefix) / "bin/python3"
        return subprocess.run([str(system), __file__], cwd=ROOT, check=False).returncode
    stream = Stream()
    try:
        figures = measure(stream)
    except BenchFailedError as error:
        stream.say(f"\npostroad: {error}")
        return 1
    heading = ("what", "to reach", "measured", "", "remark")
    stream.say("\n" + table([heading, *(figure.cells for figure in figures)]))
    result = {
        "commit": commit(),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "figures": [asdict(figure) for figure in figures],
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    stream.say(f"written to {RESULT.relative_to(ROOT)}")
    return int(any(figure.measured is not None and figure.measured > figure.limit for figure in figures))


if __name__ == "__main__":
    sys.exit(main())
