# SPDX-License-Identifier: GPL-3.0-or-later
"""`make test`: lint, unit, integration, molecule, each with its time; ends with "N passed, N failed".

The total is the sum over the JUnit files of the stages; a stage that failed without a failed case
(a deployment that broke off, say) counts as one. With names of stages it runs only those. Each molecule scenario is a
stage of its own; they follow one another on the same images.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from xml.etree import ElementTree as ET

from streaming import ROOT, Outcome, Stream

BUILD = ROOT / ".build"
JUNIT = BUILD / "junit"
RECORD = BUILD / "test-run.json"
STAGES = ("lint", "unit", "integration", "molecule")
# The scenario that shows whether the lab and the roles work at all, before those that build on them.
FIRST_SCENARIO = "default"


@dataclass(frozen=True)
class Tally:
    """Cases of one stage."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0


@dataclass(frozen=True)
class StageResult:
    """One line of the table at the end."""

    name: str
    seconds: float
    passed: int
    failed: int
    skipped: int


def read_junit(path: Path) -> Tally:
    """Sum of all suites in a JUnit file; nothing when there is none or it was cut short."""
    try:
        suites = list(ET.parse(path).getroot().iter("testsuite"))
    except (FileNotFoundError, ET.ParseError):
        return Tally()
    count = {
        key: sum(int(suite.get(key, "0")) for suite in suites) for key in ("tests", "failures", "errors", "skipped")
    }
    failed = count["failures"] + count["errors"]
    return Tally(max(0, count["tests"] - failed - count["skipped"]), failed, count["skipped"])


def failures(path: Path) -> list[str]:
    """What failed in a JUnit file, a line each: the case, and the first line of what it said."""
    try:
        cases = list(ET.parse(path).getroot().iter("testcase"))
    except (FileNotFoundError, ET.ParseError):
        return []
    return [
        f"{case.get('classname')}::{case.get('name')}: {(fault.get('message') or fault.text or '').strip()[:500]!r}"
        for case in cases
        for fault in (*case.findall("failure"), *case.findall("error"))
    ]


def settle(tally: Tally, status: int) -> Tally:
    """The tally of a stage that ended with `status`: a failure that no case tells of counts as one,
    and so does a stage in which nothing ran."""
    if tally.failed == 0 and (status != 0 or tally.passed == 0):
        return Tally(tally.passed, 1, tally.skipped)
    return tally


class Preparation:
    """What the stages need of this machine. Images are built while the linters run: they wait for the network."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._images: threading.Thread | None = None
        self._images_status = 0

    def packages(self) -> int:
        """The real peers of the integration tests, from Debian."""
        script = ROOT / "scripts/test-packages.sh"
        return self._stream.run("packages for the tests", ["sh", str(script)]).status

    def host(self) -> int:
        """Podman and its companions."""
        return self._lab("ensure-host")

    def start_images(self) -> None:
        """Build the lab's images in the background."""

        def build() -> None:
            self._images_status = self._lab("images")

        self._images = threading.Thread(target=build, daemon=True)
        self._images.start()

    def wait_images(self) -> int:
        """Wait for the images; 0 when they are there."""
        if self._images is not None:
            self._images.join()
        return self._images_status

    def _lab(self, command: str) -> int:
        return self._stream.run(
            f"lab {command}", [sys.executable, "-m", "lab", command], env={"PYTHONPATH": str(ROOT / "molecule/shared")}
        ).status


def pytest(stream: Stream, name: str, *paths: str) -> Outcome:
    """One pytest run that leaves its JUnit file."""
    command = [sys.executable, "-m", "pytest", "-q", f"--junitxml={JUNIT / name}.xml", "-o", f"junit_suite_name={name}"]
    return stream.run(name, [*command, *paths])


def scenarios(directory: Path) -> tuple[str, ...]:
    """The molecule scenarios below a directory, `default` first, then by name."""
    names = sorted(path.parent.name for path in directory.glob("*/molecule.yml"))
    return tuple(sorted(names, key=lambda name: name != FIRST_SCENARIO))


def molecule(stream: Stream, scenario: str) -> Outcome:
    """One scenario from create to destroy; its verifier writes the JUnit file (see molecule.yml)."""
    return stream.run(f"molecule {scenario}", ["molecule", "test", "--scenario-name", scenario])


def commit() -> str:
    """The commit under test, with a mark when the work tree differs from it."""
    if shutil.which("git") is None:
        return "unknown"
    answer = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=12"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return answer.stdout.strip() or "unknown"


def run_stages(stream: Stream, wanted: tuple[str, ...], chosen: Sequence[str]) -> list[StageResult]:
    """Run the wanted stages in order, whatever an earlier one said; of molecule, the chosen scenarios."""
    prepare = Preparation(stream)
    results: list[StageResult] = []

    def stage(name: str, work: Callable[[], int], *, counts: bool = True) -> None:
        stream.say(f"\n=== {name}")
        junit = JUNIT / f"{name}.xml"
        junit.unlink(missing_ok=True)
        begun = time.monotonic()
        status = work()
        tally = settle(read_junit(junit), status) if counts else Tally(0, int(status != 0))
        results.append(StageResult(name, round(time.monotonic() - begun, 1), **asdict(tally)))

    def with_images(work: Callable[[], int]) -> int:
        return prepare.wait_images() or work()

    def in_lab(scenario: str) -> int:
        return with_images(lambda: molecule(stream, scenario).status)

    if {"integration", "molecule"} & set(wanted):

        def packages() -> int:
            status = prepare.packages() if "integration" in wanted else 0
            if "molecule" in wanted:
                status = prepare.host() or status
                prepare.start_images()
            return status

        stage("packages", packages, counts=False)
    runs: dict[str, Callable[[], int]] = {
        "lint": lambda: stream.run("lint", [sys.executable, "scripts/lint.py"]).status,
        "unit": lambda: pytest(stream, "unit", "tests/unit").status,
        # Not beside the image builds: these tests look at the clock.
        "integration": lambda: with_images(
            lambda: pytest(stream, "integration", "tests", "--ignore=tests/unit").status
        ),
    }
    for name in wanted:
        if name in runs:
            stage(name, runs[name])
    if "molecule" in wanted:
        for scenario in chosen:
            stage(f"molecule-{scenario}", partial(in_lab, scenario))
    return results


def report(stream: Stream, results: list[StageResult]) -> int:
    """Print times, what failed, and the total line: a log is often seen from its end only. 0 when nothing failed."""
    stream.say(f"\n{'stage':18} {'seconds':>8} {'passed':>7} {'failed':>7} {'skipped':>8}")
    for row in results:
        stream.say(f"{row.name:18} {row.seconds:8.1f} {row.passed:7} {row.failed:7} {row.skipped:8}")
    failed = sum(row.failed for row in results)
    for row in results:
        for line in failures(JUNIT / f"{row.name}.xml") if row.failed else ():
            stream.say(f"failed in {row.name}: {line}")
    stream.say(f"{'all':18} {stream.elapsed:8.1f}")
    stream.say(f"\n{sum(row.passed for row in results)} passed, {failed} failed")
    return int(failed > 0)


def main() -> int:
    """See the module's docstring; exit status 1 when anything failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stages", nargs="*", metavar="STAGE", help=f"of {', '.join(STAGES)}; default: all")
    known = scenarios(ROOT / "molecule")
    parser.add_argument("--scenario", choices=known, help="molecule scenario; default: all, one after the other")
    options = parser.parse_args()
    if unknown := set(options.stages) - set(STAGES):
        parser.error(f"no such stage: {', '.join(sorted(unknown))}")
    wanted = tuple(name for name in STAGES if name in options.stages) or STAGES
    if "molecule" in wanted and os.geteuid() != 0:
        parser.exit(1, "postroad: the molecule hosts are containers with systemd and need root; run: sudo make test\n")
    JUNIT.mkdir(parents=True, exist_ok=True)
    stream = Stream()
    results = run_stages(stream, wanted, (options.scenario,) if options.scenario else known)
    if wanted == STAGES and not options.scenario:
        record = {
            "commit": commit(),
            "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "seconds": round(stream.elapsed, 1),
            "stages": [asdict(row) for row in results],
        }
        RECORD.write_text(json.dumps(record, indent=2) + "\n")
    return report(stream, results)


if __name__ == "__main__":
    sys.exit(main())
