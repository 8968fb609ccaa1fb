# SPDX-License-Identifier: GPL-3.0-or-later
"""Tells the host of wrong passwords, so that its packet filter can do its part.

The agent has no privilege. What it can do is send a datagram to the socket of a service that has one
(`relay_agent.shut_out`); nobody waits for an answer, and where there is no such service nothing happens.
"""

from __future__ import annotations

import json
import socket
from hashlib import blake2b

__all__ = ["tell_wrong_password"]


def tell_wrong_password(path: str, peer: str, name: str, shut_out: float) -> bool:
    """Send to the socket at `path` that `peer` gave a wrong password for `name`; whether it was taken.

    shut_out: seconds for which the agent takes no more from there, 0 for not yet. The name goes as a hash: the other
    side needs to tell names apart, and no more. A full or absent socket costs the notice, never the session.
    """
    if not path:
        return False
    account = blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
    notice = json.dumps({"peer": peer, "account": account, "shut_out": round(shut_out)}).encode()
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as channel:
            channel.sendto(notice, path)
    except OSError:
        return False
    return True
