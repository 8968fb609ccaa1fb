# SPDX-License-Identifier: GPL-3.0-or-later
"""An agent that neither logs nor measures, to see what that costs: Python loads this at the start of each process
whose PYTHONPATH begins with this directory."""

from collections.abc import Mapping

from relay_agent.observability import log, metrics


def _count_only(
    self: log.MailLog, name: str, level: str, fields: dict[str, object], kept: Mapping[str, object] | None
) -> None:
    self.counts[name] += 1


# What both `event` and `message_event` end in: neither the log nor the history gets anything.
log.MailLog._event = _count_only  # type: ignore[method-assign]
metrics.Histogram.observe = lambda self, value: None  # type: ignore[method-assign]
