# SPDX-License-Identifier: GPL-3.0-or-later
"""What the units of our small services have in common: no way to anything but what they are for (systemd.exec(5))."""

from __future__ import annotations

__all__ = ["sandbox"]

_SANDBOX = """\
NoNewPrivileges=true
ProtectSystem=strict
ProtectHome=true
PrivateTmp=true
PrivateDevices=true
DevicePolicy=closed
ProtectProc=invisible
ProcSubset=pid
ProtectClock=true
ProtectHostname=true
ProtectKernelLogs=true
ProtectKernelModules=true
ProtectKernelTunables=true
ProtectControlGroups=true
RestrictAddressFamilies={families}
RestrictNamespaces=true
RestrictRealtime=true
RestrictSUIDSGID=true
LockPersonality=true
MemoryDenyWriteExecute=true
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallErrorNumber=EPERM"""


def sandbox(families: str) -> str:
    """Lines of a [Service] section, without the user and its capabilities. families: of sockets, as in `AF_UNIX`."""
    return _SANDBOX.format(families=families)
