# SPDX-License-Identifier: GPL-3.0-or-later
"""Telling systemd how the service is (sd_notify(3))."""

from __future__ import annotations

import os
import socket
import time

__all__ = ["notify", "notify_reloading"]


def notify(*assignments: str) -> bool:
    """Send assignments such as ``READY=1`` or ``STATUS=...`` to systemd; False outside a notify unit."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.connect(address)
            channel.sendall("\n".join(assignments).encode())
    except OSError:
        return False
    return True


def notify_reloading() -> bool:
    """Tell systemd that a reload has begun; ``READY=1`` ends it."""
    return notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
