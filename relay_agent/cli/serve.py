# SPDX-License-Identifier: GPL-3.0-or-later
"""``relay-agent serve``. What takes long to import is imported late: see `serve`."""

from __future__ import annotations

import argparse
import signal

__all__ = ["serve"]


def serve(arguments: argparse.Namespace) -> int:
    """Run the agent; returns when it has stopped.

    The default of SIGHUP is to end a process, and systemd would not start it again: a reload that is asked for
    before the agent has its handler waits until it has (`Supervisor` unblocks the signal).
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    from relay_agent.supervisor.supervisor import run

    return run(arguments.config)
