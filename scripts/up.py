# SPDX-License-Identifier: GPL-3.0-or-later
"""`make up`: the lab, two relays on it, a message through every port, and the settings to type.

Runs on the system's Python alone, because the virtual environment is made meanwhile.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streaming import ROOT, Stream

STATE = ROOT / ".lab/up"
REPORT = ROOT / ".build/up/verify.json"
RECORD = ROOT / ".build/up/times.json"
LAB_ENVIRONMENT = {"PYTHONPATH": str(ROOT / "molecule/shared")}


class StepFailedError(Exception):
    """A step ended with another status than 0; the text says which."""


@dataclass(frozen=True)
class Step:
    """One command of `make up`, with the words that announce it."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] | None = None


def lab(*words: str) -> Step:
    """A command of the lab."""
    return Step(f"lab {words[0]}", [sys.executable, "-m", "lab", *words], LAB_ENVIRONMENT)


def playbook(name: str, *options: str) -> Step:
    """A playbook on the lab's hosts."""
    return Step(name, ["ansible-playbook", "-i", "inventories/lab", f"playbooks/{name}", *options])


class Up:
    """Runs the steps and remembers how long each took."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self.seconds: dict[str, float] = {}

    def run(self, *steps: Step) -> None:
        """Run the steps one after the other. Raises StepFailedError at the first that fails."""
        for step in steps:
            self._stream.say(f"postroad {self._stream.elapsed:6.1f} s  {step.name} ...")
            outcome = self._stream.run(step.name, step.command, env=step.environment)
            self.seconds[step.name] = round(outcome.seconds, 1)
            if outcome.status:
                raise StepFailedError(f"{step.name} failed (exit status {outcome.status}), see above")

    def run_together(self, *rows: Sequence[Step]) -> None:
        """Run rows of steps beside each other. Raises StepFailedError when all have ended and one failed."""
        with ThreadPoolExecutor(max_workers=len(rows)) as pool:
            jobs = [pool.submit(self.run, *row) for row in rows]
        for job in jobs:
            job.result()


def bring_up(up: Up) -> None:
    """From whatever is there to relays that carry mail. Raises StepFailedError."""
    # Both install packages when they are missing, and apt allows one at a time.
    up.run(lab("ensure-host"))
    # The images wait for mmdebstrap and the network, the environment for pip: together they fill two cores.
    environment = Step("virtual environment", ["sh", "scripts/venv.sh"])
    up.run_together([environment], [lab("images", "--lab", "up"), lab("create", "--lab", "up")])
    up.run(playbook("site.yml"), playbook("verify.yml", "-e", f"relay_verify_report={REPORT}"))


def arrivals(probes: Sequence[Mapping[str, Any]]) -> str:
    """The table of `make up`, as verify.yml shows it. By now there is a collection to take it from."""
    sys.path.insert(0, str(ROOT / ".venv/collections"))
    from ansible_collections.postroad.relay.plugins.plugin_utils.probe_table import Row, render

    return render([Row(**row) for row in probes])


def settings(probes: Sequence[Mapping[str, Any]], state: Path) -> str:
    """What a person types into a mail program, and where the password is."""
    hosts = list(dict.fromkeys(row["host"] for row in probes))
    ports: dict[str, list[str]] = {"starttls": [], "implicit": [], "none": []}
    for row in probes:
        ports[row["tls"]].append(str(row["port"]))
    shown = {mode: ", ".join(dict.fromkeys(numbers)) for mode, numbers in ports.items()}
    accounts = json.loads((state / "secrets.yml").read_text())["accounts"]
    people = ", ".join(name for name in accounts if name != "probe")
    lines = [
        "Settings for a mail program (outgoing mail, SMTP):",
        f"  server      {' or '.join(hosts)}",
        f"  port        {shown['implicit']} with SSL/TLS; {shown['starttls']} with STARTTLS. Any of them will do.",
        "  sign-in     normal password",
        f"  user name   {people}",
        f"  password    the lab's own, made for it: {(state / 'secrets.yml').relative_to(ROOT)}",
        f"  authority   that signed the certificates, to trust: {(state / 'private_ca/ca.pem').relative_to(ROOT)}",
    ]
    return "\n".join(lines)


def main() -> int:
    """Bring the lab up; exit status 1 when a step failed."""
    stream = Stream()
    up = Up(stream)
    REPORT.unlink(missing_ok=True)
    try:
        bring_up(up)
    except StepFailedError as error:
        stream.say(f"\npostroad: {error}")
        return 1
    except KeyboardInterrupt:
        stream.say("\npostroad: interrupted; run `make up` again to go on")
        return 130
    probes = json.loads(REPORT.read_text())
    stream.say(f"\n{arrivals(probes)}\n\n{settings(probes, STATE)}")
    stream.say(f"\n{len(probes)} messages arrived; up after {stream.elapsed:.0f} s. `make down` removes it all.")
    finished = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    record = {"finished": finished, "seconds": round(stream.elapsed, 1), "steps": up.seconds}
    RECORD.write_text(json.dumps(record, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
