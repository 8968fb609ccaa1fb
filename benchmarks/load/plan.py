# SPDX-License-Identifier: GPL-3.0-or-later
"""What a load consists of, checked: where to, how many, how long, in which manner."""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import Literal

__all__ = ["MAX_CLIENTS", "MAX_COUNT", "MAX_SECONDS", "Plan", "PlanError", "build_message", "share"]

MAX_COUNT = 5_000_000
MAX_SECONDS = 600.0
MAX_CLIENTS = 10_000

Tls = Literal["none", "starttls", "implicit"]


class PlanError(ValueError):
    """A load that must not or cannot be run."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One load.

    port, address: where to; loopback only, never a name. tls: from the first byte, by STARTTLS, or not at all.
    user, password: signed in with AUTH PLAIN when given. kept: all messages of a client on one connection;
    otherwise a connection for each. pipelined: MAIL, RCPT and DATA in one write (RFC 2920).
    clients: sessions at once. size: bytes of a message, header included. count, seconds: the load ends
    with whichever comes first. rate: messages a second at random (Poisson) times whatever the relay does;
    0 is as fast as it answers. resume: offer the previous TLS session. grace: seconds that what is under
    way at the end may take. seed: of the random times.
    """

    port: int
    address: str = "127.0.0.1"
    tls: Tls = "none"
    user: str = ""
    password: str = ""
    kept: bool = False
    pipelined: bool = False
    clients: int = 20
    size: int = 4096
    count: int = MAX_COUNT
    seconds: float = 10.0
    rate: float = 0.0
    resume: bool = False
    grace: float = 30.0
    seed: int = 1
    sender: str = "alice@alpha.test"
    recipient: str = "sink@bench.test"

    def check(self) -> None:
        """Raise PlanError for a load beyond loopback or beyond bounds."""
        try:
            loopback = ip_address(self.address).is_loopback
        except ValueError:
            raise PlanError(f"{self.address}: give an address of the loopback, not a name") from None
        if not loopback:
            raise PlanError(f"{self.address} is not on the loopback; load goes nowhere else")
        for name, value, low, high in (
            ("port", self.port, 1, 65535),
            ("clients", self.clients, 1, MAX_CLIENTS),
            ("size", self.size, 256, 100_000_000),
            ("count", self.count, 1, MAX_COUNT),
            ("seconds", self.seconds, 0.1, MAX_SECONDS),
            ("grace", self.grace, 0.1, MAX_SECONDS),
            ("rate", self.rate, 0, 100_000),
        ):
            if not low <= value <= high:
                raise PlanError(f"{name} {value} is not between {low} and {high}")
        if bool(self.user) != bool(self.password):
            raise PlanError("user and password go together")
        if any(character in value for value in (self.sender, self.recipient) for character in "\r\n<> "):
            raise PlanError("an address has a character that would end it")


def share(plan: Plan, processes: int) -> list[Plan]:
    """The plan split over at most `processes` processes: clients, count and rate divided, seeds apart."""
    processes = max(1, min(processes, plan.clients, plan.count))
    return [
        replace(
            plan,
            clients=_part(plan.clients, processes, index),
            count=_part(plan.count, processes, index),
            rate=plan.rate / processes,
            seed=plan.seed * 1000 + index,
        )
        for index in range(processes)
    ]


def _part(whole: int, parts: int, index: int) -> int:
    return whole // parts + (index < whole % parts)


def build_message(plan: Plan) -> bytes:
    """A message of exactly `plan.size` bytes with CRLF line ends and no line that begins with a dot."""
    header = (
        f"From: <{plan.sender}>\r\nTo: <{plan.recipient}>\r\nSubject: load\r\n"
        "Date: Mon, 23 Nov 2026 12:00:00 +0000\r\nMessage-ID: <load@bench.test>\r\n\r\n"
    ).encode()
    line = b"the quick brown fox jumps over the lazy dog, again and again and again\r\n"
    left = max(plan.size - len(header), 3)
    whole, rest = divmod(left, len(line))
    if 0 < rest < 3:  # too short for a line of its own: make one of it and of the last whole line
        whole, rest = whole - 1, rest + len(line)
    return header + line * whole + (b"x" * (rest - 2) + b"\r\n" if rest else b"")
