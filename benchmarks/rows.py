# SPDX-License-Identifier: GPL-3.0-or-later
"""The loads that are compared, what is to be reached in each, and the judgement. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any, Literal

__all__ = ["ROWS", "Load", "Result", "Row", "Sample", "combine", "judge"]

Figure = Literal["accepted", "end_to_end", "megabytes", "p99"]


@dataclass(frozen=True)
class Load:
    """What the generator is told; the port follows from `tls`, the account from `signed_in`."""

    tls: Literal["none", "starttls", "implicit"] = "none"
    signed_in: bool = False
    kept: bool = False
    pipelined: bool = False
    clients: int = 20
    size: int = 4096
    count: int = 0  # 0: as many as the time allows
    of_postfix_peak: float = 0.0  # a fixed rate, as part of what Postfix accepts at most; 0: as fast as answered


@dataclass(frozen=True)
class Row:
    """A line of the table: `figure` of the agent divided by that of Postfix is held against `target`.

    For a rate the ratio must be the target or more, for a latency (p99) the target or less. Without a target
    the row is for information. memory_limit: bytes that the agent may take at most.
    """

    key: str
    title: str
    load: Load
    figure: Figure = "accepted"
    target: float | None = None
    memory_limit: int = 0

    @property
    def unit(self) -> str:
        """What the figure counts."""
        return {"accepted": "msg/s", "end_to_end": "msg/s", "megabytes": "MB/s", "p99": "ms"}[self.figure]


ROWS: tuple[Row, ...] = (
    Row("plain-new", "plain, a connection each, accepted", Load(), target=4),
    Row("plain-kept", "plain, kept connections, accepted", Load(kept=True), target=6),
    Row("pipelined-kept", "plain, kept, pipelined, accepted", Load(kept=True, pipelined=True)),
    Row("single", "plain, kept, one client (an event at a time), accepted", Load(kept=True, clients=1)),
    Row("end-to-end", "plain, a connection each, until the sink has all", Load(), figure="end_to_end", target=3),
    Row(
        "end-to-end-kept",
        "plain, kept connections, until the sink has all",
        Load(kept=True),
        figure="end_to_end",
        target=3,
    ),
    Row("tls-new", "STARTTLS + AUTH, a connection each, accepted", Load(tls="starttls", signed_in=True), target=1.5),
    Row("tls-kept", "STARTTLS + AUTH, kept, accepted", Load(tls="starttls", signed_in=True, kept=True), target=4),
    Row(
        "latency",
        "p99 of a message at half of Postfix's peak rate",
        Load(clients=200, of_postfix_peak=0.5),
        figure="p99",
        target=0.5,
    ),
    Row(
        "large",
        "10 MB messages, 20 at once",
        Load(kept=True, size=10_000_000, count=60),
        figure="megabytes",
        target=1,
        memory_limit=120_000_000,
    ),
)


@dataclass(frozen=True)
class Sample:
    """One measurement of one relay. Rates a second; times in milliseconds; memory in bytes.

    p50, p99: from MAIL to the 250. whole_p50, whole_p99: from the moment the message was there to be sent,
    connection, TLS and sign-in included. cpu: processor time of all the relay's processes for a message, its
    delivery included; generator_cpu: of the load generator.
    """

    accepted: float = 0.0
    end_to_end: float = 0.0
    megabytes: float = 0.0
    p50: float = 0.0
    p99: float = 0.0
    whole_p50: float = 0.0
    whole_p99: float = 0.0
    cpu: float = 0.0
    generator_cpu: float = 0.0
    memory: int = 0
    messages: int = 0
    failed: int = 0
    drained: bool = True
    note: str = ""

    def figure(self, name: Figure) -> float:
        """What a row is about. Of latencies it is the whole: nothing that a client waits for is left out."""
        return {
            "accepted": self.accepted,
            "end_to_end": self.end_to_end if self.drained else 0.0,
            "megabytes": self.megabytes,
            "p99": self.whole_p99,
        }[name]


@dataclass(frozen=True)
class Result:
    """A row with what was measured: medians over the rounds, and every sample."""

    key: str
    title: str
    unit: str
    ours: float
    postfix: float
    ratio: float
    target: str
    met: bool | None  # None: there is no target
    why: str = ""
    ours_sample: Sample = field(default_factory=Sample)
    postfix_sample: Sample = field(default_factory=Sample)
    samples: dict[str, list[dict[str, Any]]] = field(default_factory=dict)


def combine(samples: Sequence[Sample]) -> Sample:
    """The median of each figure; failures and memory are the worst, drained only if all were."""
    if not samples:
        return Sample()
    middle = {
        name: median(getattr(sample, name) for sample in samples)
        for name in (
            "accepted", "end_to_end", "megabytes", "p50", "p99", "whole_p50", "whole_p99", "cpu", "generator_cpu"
        )
    }  # fmt: skip
    return Sample(
        **middle,
        memory=max(sample.memory for sample in samples),
        messages=sum(sample.messages for sample in samples),
        failed=sum(sample.failed for sample in samples),
        drained=all(sample.drained for sample in samples),
        note="; ".join(dict.fromkeys(sample.note for sample in samples if sample.note)),
    )


def judge(row: Row, ours: Sequence[Sample], postfix: Sequence[Sample]) -> Result:
    """The row's result. A failed message of the agent's, or one that did not arrive, misses any target."""
    mine, theirs = combine(ours), combine(postfix)
    figure, other = mine.figure(row.figure), theirs.figure(row.figure)
    ratio = figure / other if other else 0.0
    lower = row.figure == "p99"
    target, met, reasons = "", None, []
    if row.target is not None:
        target = f"{'<=' if lower else '>='} {row.target:g}"
        met = bool(ours) and bool(other) and (ratio <= row.target if lower else ratio >= row.target)
    if row.memory_limit:
        target += f", < {row.memory_limit / 1e6:g} MB"
        if mine.memory >= row.memory_limit:
            reasons.append(f"memory {mine.memory / 1e6:.0f} MB")
    if mine.failed:
        reasons.append(f"{mine.failed} failed")
    if not mine.drained:
        reasons.append("not all arrived at the sink")
    if theirs.failed:
        reasons.append(f"Postfix: {theirs.failed} failed")
    if met and (mine.failed or not mine.drained or (row.memory_limit and mine.memory >= row.memory_limit)):
        met = False
    samples = {"agent": [asdict(each) for each in ours], "postfix": [asdict(each) for each in postfix]}
    why = "; ".join([*reasons, *(note for note in (mine.note, theirs.note) if note)])
    return Result(row.key, row.title, row.unit, figure, other, ratio, target, met, why, mine, theirs, samples)
