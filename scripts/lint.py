# SPDX-License-Identifier: GPL-3.0-or-later
"""`make lint`: every linter, two at a time, each with its time; one JUnit case per linter."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

from streaming import ROOT, Outcome, Stream

COLLECTION = ".venv/collections/ansible_collections/postroad/relay"


@dataclass(frozen=True)
class Check:
    """One linter: its name in the output and what to run."""

    name: str
    command: Callable[[], list[str]]


def tracked(*patterns: str) -> list[str]:
    """Files of the checkout that match, those not committed yet included, ignored ones not."""
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard", "--", *patterns],
        capture_output=True,
        text=True,
        check=True,
    )
    return [name for name in dict.fromkeys(listed.stdout.splitlines()) if (ROOT / name).exists()]


def shell_scripts() -> list[str]:
    """The shell scripts, by name or by first line."""
    scripts = tracked("*.sh", ".ci/run")
    for name in tracked("molecule/*", "roles/*"):
        path = ROOT / name
        if name in scripts or path.suffix not in ("", ".sh") or not path.is_file():
            continue
        if path.read_bytes()[:64].split(b"\n")[0].endswith((b"/sh", b"/bash", b" bash", b" sh")):
            scripts.append(name)
    return scripts


def mypy_targets() -> list[str]:
    """What is typed. The plugins are named by their path in the collection, as Ansible imports them."""
    return ["relay_agent", "benchmarks", "molecule/shared", "scripts", "tests", f"{COLLECTION}/plugins"]


CHECKS = (
    Check("ansible-lint", lambda: ["ansible-lint", "--offline", "--nocolor", "-q"]),
    Check("mypy --strict", lambda: ["mypy", "--strict", "--no-error-summary", *mypy_targets()]),
    Check("ruff format", lambda: ["ruff", "format", "--check", "--quiet", "."]),
    Check("ruff check", lambda: ["ruff", "check", "--quiet", "."]),
    Check("yamllint", lambda: ["yamllint", "--strict", *tracked("*.yml", "*.yaml", ".yamllint", ".ansible-lint")]),
    Check("shellcheck", lambda: ["shellcheck", *shell_scripts()]),
    Check("generated pages", lambda: [sys.executable, "scripts/references.py", "--check"]),
)


def write_junit(path: Path, results: dict[str, Outcome]) -> None:
    """One case per linter, as pytest writes its own, so that one sum covers everything."""
    failed = sum(outcome.status != 0 for outcome in results.values())
    suite = ET.Element("testsuite", name="lint", tests=str(len(results)), failures=str(failed), errors="0", skipped="0")
    for name, outcome in results.items():
        case = ET.SubElement(suite, "testcase", classname="lint", name=name, time=f"{outcome.seconds:.3f}")
        if outcome.status:
            ET.SubElement(case, "failure", message=f"exit status {outcome.status}").text = outcome.output
    root = ET.Element("testsuites")
    root.append(suite)
    path.parent.mkdir(parents=True, exist_ok=True)
    ET.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)


def main() -> int:
    """Run them all, whatever the first one says; exit status 1 when any failed."""
    stream = Stream()

    def run(check: Check) -> Outcome:
        outcome = stream.run(check.name, check.command(), quiet=True)
        if outcome.status:
            stream.say(f"{outcome.output.rstrip()}\n")
        stream.say(f"  {'FAILED' if outcome.status else 'ok':6}  {check.name:16} {outcome.seconds:5.1f} s")
        return outcome

    with ThreadPoolExecutor(max_workers=min(2, os.cpu_count() or 1)) as pool:
        results = dict(zip((check.name for check in CHECKS), pool.map(run, CHECKS), strict=True))
    write_junit(ROOT / ".build/junit/lint.xml", results)
    return int(any(outcome.status for outcome in results.values()))


if __name__ == "__main__":
    sys.exit(main())
