# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a host's history is, and who keeps it."""

from __future__ import annotations

import logging
from pathlib import Path

from relay_agent.config.schema import Config
from relay_agent.history.segments import remove_all
from relay_agent.history.writer import HistoryWriter
from relay_agent.observability.log import MailLog

__all__ = ["begin_history", "history_directory"]

log = logging.getLogger(__name__)


def history_directory(config: Config) -> Path:
    """Below the queue, on its disk and with its owner and rights; it may not exist."""
    return config.queue.directory / "history"


def begin_history(config: Config, events: MailLog) -> HistoryWriter | None:
    """Keep the log's events of messages from here on; None, and all is forgotten, where the configuration wants
    no history. Blocks."""
    directory = history_directory(config)
    if not config.history.enabled:
        try:
            remove_all(directory)
        except OSError as error:
            log.warning("history: what was kept cannot be removed: %s", error)
        return None
    writer = HistoryWriter(directory, keep=config.history.keep, max_size=config.history.max_size)
    events.history = writer.put
    return writer
