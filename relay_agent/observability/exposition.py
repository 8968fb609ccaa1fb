# SPDX-License-Identifier: GPL-3.0-or-later
"""Metrics as text: Prometheus' format 0.0.4, and OpenMetrics 1.0 for those who ask for it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate
from typing import Any

from relay_agent.observability.metrics import Definition, Series

__all__ = ["OPENMETRICS", "TEXT", "as_json", "as_text", "content_type"]

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"

Family = Mapping[str, Any]


def content_type(accept: str) -> str:
    """Which of the two formats an Accept header asks for; without a wish it is the older."""
    return OPENMETRICS if "application/openmetrics-text" in accept.lower() else TEXT


def as_json(definition: Definition, series: Series) -> dict[str, Any]:
    """One metric as plain values, which is also how it travels over the control socket.

    A sample has `labels` and `value`; that of a histogram `labels`, `buckets` (cumulative, by upper bound), `sum`
    and `count`.
    """
    names = [label.name for label in definition.labels]
    samples: list[dict[str, Any]] = []
    for values, numbers in sorted(series.items()):
        sample: dict[str, Any] = {"labels": dict(zip(names, values, strict=True))}
        if definition.kind == "histogram":
            *counts, total = numbers
            reached = list(accumulate(counts))
            ends = [*map(_number, map(float, definition.bounds)), "+Inf"]
            sample |= {"buckets": dict(zip(ends, reached, strict=True)), "sum": total, "count": reached[-1]}
        else:
            sample["value"] = numbers[0]
        samples.append(sample)
    return {"name": definition.name, "type": definition.kind, "help": definition.help, "samples": samples}


def as_text(families: Iterable[Family], format: str = TEXT) -> str:
    """The page; format: one of the two content types."""
    openmetrics = format == OPENMETRICS
    lines = [line for family in families if family["samples"] for line in _lines(family, openmetrics)]
    if openmetrics:
        lines.append("# EOF")
    return "\n".join(lines) + "\n"


def _lines(family: Family, openmetrics: bool) -> Iterator[str]:
    name, kind = family["name"], family["type"]
    # OpenMetrics names a counter without the suffix that its samples have.
    shown = name.removesuffix("_total") if openmetrics and kind == "counter" else name
    text = family["help"].replace("\\", "\\\\").replace("\n", "\\n")
    yield f"# HELP {shown} {text.replace(chr(34), chr(92) + chr(34)) if openmetrics else text}"
    yield f"# TYPE {shown} {kind}"
    for sample in family["samples"]:
        labels = sample["labels"]
        if kind != "histogram":
            yield f"{name}{_braces(labels)} {_number(sample['value'])}"
            continue
        for end, count in sample["buckets"].items():
            yield f"{name}_bucket{_braces({**labels, 'le': end})} {_number(count)}"
        yield f"{name}_sum{_braces(labels)} {_number(sample['sum'])}"
        yield f"{name}_count{_braces(labels)} {_number(sample['count'])}"


def _braces(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items()) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    if isinstance(value, float) and math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return repr(value)
