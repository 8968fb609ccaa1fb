# SPDX-License-Identifier: GPL-3.0-or-later
"""``relay-agent metrics``: the running agent's metrics, as its port for Prometheus has them."""

from __future__ import annotations

import argparse
import sys

from relay_agent.config.load import read_config
from relay_agent.control.client import ControlClient
from relay_agent.observability.exposition import as_text

from .terminal import print_json

__all__ = ["run"]


def run(arguments: argparse.Namespace) -> int:
    """0; when no agent runs, AgentNotRunningError becomes 1 and a line on standard error, and nothing is printed."""
    config = read_config(arguments.config)
    answer = ControlClient(config.control.socket, timeout=30.0).call("metrics")
    if arguments.json:
        print_json(answer)
    else:
        sys.stdout.write(as_text(answer["metrics"]))
    return 0
