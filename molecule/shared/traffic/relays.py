# SPDX-License-Identifier: GPL-3.0-or-later
"""What a test asks of a relay."""

import json
import time
from typing import Any

__all__ = ["LISTENERS", "Relay"]

# What the roles listen on unless told otherwise.
LISTENERS = {587: "starttls", 2525: "starttls", 8025: "starttls", 465: "implicit", 2465: "implicit", 443: "implicit"}

_UNIT = "relay-agent.service"


class Relay:
    """A relay, by its host of testinfra."""

    def __init__(self, host: Any) -> None:
        self.host = host

    def queue(self) -> list[dict[str, Any]]:
        """The messages that wait, as ``relay-agent queue list`` tells of them."""
        listing: list[dict[str, Any]] = json.loads(self.host.check_output("relay-agent queue list --json"))
        return listing

    def wait_until_deferred(self, token: str, *, seconds: float) -> bool:
        """Whether, in time, the message with this tag in a recipient's address was tried and is kept."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for message in self.queue():
                for recipient in message["recipients"]:
                    if f"+{token}@" in recipient["address"] and recipient["attempts"] > 0:
                        return True
            time.sleep(0.5)
        return False

    def main_pid(self) -> int:
        """The agent's main process; 0 when it does not run."""
        return int(self.host.check_output(f"systemctl show --property=MainPID --value {_UNIT}"))

    def processes(self) -> list[int]:
        """Every process of the agent's user."""
        return [int(pid) for pid in self.host.run("pgrep -u postroad").stdout.split()]

    def kill(self) -> None:
        """``kill -9`` every process of the agent."""
        self.host.check_output(f"systemctl kill --signal=KILL {_UNIT}")

    def wait_until_running(self, *, other_than: int = 0, seconds: float = 30.0) -> bool:
        """Whether, in time, the agent is up, under another process id than ``other_than``."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.host.run(f"systemctl is-active {_UNIT}").stdout.strip() == "active":
                pid = self.main_pid()
                if pid not in (0, other_than):
                    return True
            time.sleep(0.3)
        return False
