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

    def waiting(self, token: str) -> tuple[str, dict[str, Any]] | None:
        """The queue id and the recipient that has this tag in its address; None when it is not in the queue."""
        for message in self.queue():
            for recipient in message["recipients"]:
                if f"+{token}@" in recipient["address"]:
                    return message["id"], recipient
        return None

    def wait_until_deferred(self, token: str, *, seconds: float) -> bool:
        """Whether, in time, the message with this tag in a recipient's address was tried and is kept."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            found = self.waiting(token)
            if found is not None and found[1]["attempts"] > 0:
                return True
            time.sleep(0.5)
        return False

    def left_in_queue(self, *, seconds: float = 30.0) -> list[dict[str, Any]]:
        """What is still in the queue when it is empty or time is up.

        A message lies in its mailbox before the relay has noted that.
        """
        deadline = time.monotonic() + seconds
        while (left := self.queue()) and time.monotonic() < deadline:
            time.sleep(0.5)
        return left

    def retry(self) -> None:
        """Have everything in the queue tried now."""
        self.host.check_output("relay-agent queue retry --all")

    def events(self, name: str) -> list[dict[str, Any]]:
        """The events of this name in the agent's log since it was started."""
        started = self.host.check_output(f"systemctl show --property=InvocationID --value {_UNIT}")
        # journald takes in what the agent has written when it comes to it; --sync waits for that.
        log = self.host.check_output(f"journalctl --sync && journalctl --output=cat _SYSTEMD_INVOCATION_ID={started}")
        events = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
        return [event for event in events if event.get("event") == name]

    def metric(self, sample: str) -> float:
        """The value of a metric by its name and labels, as in ``postroad_bounces_total{kind="failed"}``."""
        for line in self.host.check_output("relay-agent metrics").splitlines():
            name, _, value = line.rpartition(" ")
            if name == sample:
                return float(value)
        raise LookupError(sample)

    def restart(self) -> None:
        """Restart the agent: what it has learned of other hosts is forgotten."""
        self.host.check_output(f"systemctl restart {_UNIT}")

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
