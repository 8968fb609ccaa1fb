# SPDX-License-Identifier: GPL-3.0-or-later
"""One measurement: a relay started fresh, warmed up, put under load, drained into the sink, stopped."""

from __future__ import annotations

import compileall
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.rivals.agent import Agent
from benchmarks.rivals.postfix import Postfix
from benchmarks.rivals.processes import Peak, cpu_seconds, memory
from benchmarks.rivals.relay import ACCOUNT, PASSWORD, Certificate, Relay, RelayError, make_certificate
from benchmarks.rivals.sink import Sink
from benchmarks.rows import Load, Sample

__all__ = ["Bench", "Sizes", "compile_agent"]

ROOT = Path(__file__).parent.parent


def compile_agent(package: Path) -> None:
    """Have the package's bytecode on the disk, as a release that is installed has it: each process of an agent that
    compiled its modules as it started (`PYTHONDONTWRITEBYTECODE`, or the first start) would keep 2 MB more.

    Raises RelayError.
    """
    if not compileall.compile_dir(package, quiet=2):
        raise RelayError(f"{package} could not be compiled: is it writable, and its syntax this Python's?")


class Sizes:
    """How long everything takes: seconds of load and of warming up, rounds, patience with what is left to deliver."""

    def __init__(self, *, quick: bool) -> None:
        self.seconds = 3.0 if quick else 10.0
        self.warm_up = 0.7 if quick else 2.0
        self.rounds = 1 if quick else 3
        self.drain = 30.0 if quick else 120.0
        self.idle = 5000
        self.large = 20 if quick else 60


class Bench:
    """The place and the peers of all measurements.

    directory: on a real disk, emptied between measurements. say: takes progress in words.
    """

    def __init__(self, directory: Path, sizes: Sizes, say: Callable[[str], None]) -> None:
        self.directory = directory
        self.sizes = sizes
        self.say = say
        self.certificate: Certificate = make_certificate(directory)
        compile_agent(ROOT / "relay_agent")
        self.processes = min(2, os.cpu_count() or 1)

    @contextmanager
    def relay(self, name: str, *, sessions: int = 5000) -> Iterator[tuple[Relay, Sink]]:
        """A relay that has started with an empty queue, and the sink behind it. `muted` is the agent without log
        and measurements, `signing` the one with DKIM keys."""
        place = self.directory / name
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        sink = Sink()
        relay: Relay
        if name != "postfix":
            relay = Agent(
                place,
                self.certificate,
                sink.port,
                sessions=sessions,
                environment={"PYTHONPATH": f"{ROOT}/benchmarks/rivals/muted:{ROOT}"} if name == "muted" else None,
                signing=name == "signing",
            )
        else:
            relay = Postfix(place, self.certificate, sink.port)
        sink.start()
        try:
            relay.start()
            yield relay, sink
        finally:
            relay.stop()
            sink.stop()
            shutil.rmtree(place, ignore_errors=True)

    def fill(self, queue: Path, count: int) -> None:
        """Fill an agent's queue while no agent runs."""
        begun = time.monotonic()
        subprocess.run(
            [sys.executable, "-m", "benchmarks.rivals.fill", str(queue), str(count), "4096"], cwd=ROOT, check=True
        )
        self.say(f"filled the queue with {count:,} messages in {time.monotonic() - begun:.0f} s")

    def generator(self, relay: Relay, load: Load, **options: float) -> list[str]:
        """The command of the load generator."""
        port = {"none": relay.ports.plain, "starttls": relay.ports.starttls, "implicit": relay.ports.implicit}
        command = [sys.executable, "-m", "benchmarks.load", "--port", str(port[load.tls]), "--tls", load.tls]
        command += ["--clients", str(load.clients), "--size", str(load.size)]
        command += ["--user", ACCOUNT] if load.signed_in else []
        command += ["--kept"] if load.kept else []
        command += ["--pipelined"] if load.pipelined else []
        for name, value in options.items():
            command += [f"--{name}", str(value)]
        return command

    def run_generator(self, relay: Relay, load: Load, **options: float) -> dict[str, Any]:
        """Put load on the relay; returns what the generator reports. Raises RelayError when it reports nothing."""
        done = subprocess.run(
            self.generator(relay, load, processes=self.processes, **options),
            cwd=ROOT,
            env={**os.environ, "LOAD_PASSWORD": PASSWORD},
            capture_output=True,
            text=True,
            check=False,
        )
        if not done.stdout or done.stderr:
            raise RelayError(f"the load generator said: {done.stderr.strip()[-500:]}")
        report: dict[str, Any] = json.loads(done.stdout)
        return report

    def sample(self, relay: Relay, sink: Sink, load: Load, rate: float = 0.0) -> Sample:
        """Warm the relay up, measure, and wait until the sink has everything."""
        sizes = self.sizes
        earlier = sink.messages
        warm = self.run_generator(
            relay,
            load,
            seconds=sizes.warm_up,
            **({"count": 2} if load.count else {}),
            **({"rate": rate} if rate else {}),
        )
        sink.wait_for(earlier + int(warm["messages"]), sizes.drain)
        sink.settle()
        before, processor = sink.messages, cpu_seconds(relay.pid)
        options: dict[str, float] = {"rate": rate} if rate else {}
        if load.count:
            options["count"] = min(load.count, sizes.large)
        with Peak(relay.pid) as peak:
            report = self.run_generator(relay, load, seconds=60.0 if load.count else sizes.seconds, **options)
            messages = int(report["messages"])
            drained = sink.wait_for(before + messages, sizes.drain)
        used = cpu_seconds(relay.pid) - processor
        until_sink = max(sink.last_at - report["began"], 1e-9)
        arrived = sink.messages - before
        failures = ", ".join(f"{count} x {reason}" for reason, count in report["failures"].items())
        return Sample(
            accepted=report["rate"],
            end_to_end=arrived / until_sink if messages else 0.0,
            megabytes=report["megabytes_per_second"],
            p50=report["accepted_ms"]["p50"],
            p99=report["accepted_ms"]["p99"],
            whole_p50=report["whole_ms"]["p50"],
            whole_p99=report["whole_ms"]["p99"],
            cpu=used / max(arrived, 1) * 1000,
            generator_cpu=report["generator_cpu_seconds"] / max(messages, 1) * 1000,
            memory=peak.bytes,
            messages=messages,
            failed=report["failed"],
            drained=drained and arrived == messages,
            note=failures,
        )

    def idle(self, count: int) -> tuple[int, int]:
        """Bytes of the agent for each of `count` silent signed-in TLS sessions, and how many there were."""
        # Far from the limit: close to it a worker may refuse what another one has a lease for (see `leases`).
        with self.relay("agent", sessions=2 * count) as (relay, _):
            # One session first: what is loaded with the first is nobody's session.
            self.run_generator(relay, Load(tls="implicit", signed_in=True), seconds=0.5)
            time.sleep(0.5)
            before = memory(relay.pid)
            load = Load(tls="implicit", signed_in=True, clients=count)
            process = subprocess.Popen(
                [*self.generator(relay, load, seconds=60.0, grace=120.0), "--idle"],
                cwd=ROOT,
                env={**os.environ, "LOAD_PASSWORD": PASSWORD},
                stdout=subprocess.PIPE,
                text=True,
            )
            try:
                assert process.stdout is not None
                line = process.stdout.readline()
                ready = int(json.loads(line)["ready"]) if line else 0
                time.sleep(1.0)
                used = memory(relay.pid) - before
            finally:
                process.kill()
                process.wait()
                if process.stdout is not None:
                    process.stdout.close()
        return used // max(ready, 1), ready

    def start_with(self, queue: Path | None) -> tuple[float, Sample]:
        """Seconds until an agent with this queue (None: an empty one) greets, and how fast it then accepts."""
        place = queue or self.directory / "empty"
        if queue is None:
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir()
        sink = Sink()
        agent = Agent(place, self.certificate, sink.port)
        sink.start()
        try:
            begun = time.monotonic()
            agent.start()
            return time.monotonic() - begun, self.sample(agent, sink, Load(kept=True))
        finally:
            agent.stop()
            sink.stop()

    def filled(self, count: int) -> Path:
        """A directory for an agent whose queue holds `count` messages; filled once, then used in every round."""
        place = self.directory / "filled"
        place.mkdir()
        self.fill(Agent(place, self.certificate, 1).queue, count)
        return place
