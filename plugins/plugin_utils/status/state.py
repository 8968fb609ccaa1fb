# SPDX-License-Identifier: GPL-3.0-or-later
"""The state of every relay, as it was read on it and seen from outside; what all pages of the fleet are made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.postroad.relay.plugins.plugin_utils.certificates.certificate import (
    CertificateError,
    parse_chain,
)
from ansible_collections.postroad.relay.plugins.plugin_utils.plain_words import span
from cryptography import x509
from cryptography.hazmat.primitives import hashes

__all__ = ["DIFFERENCE", "NOBODY", "NOTICE", "TROUBLE", "Finding", "PortState", "RelayState", "read_state"]

TROUBLE = "trouble"
DIFFERENCE = "difference"
NOTICE = "notice"
NOBODY = "any vantage"
_CLOCK = 5.0  # seconds


@dataclass(frozen=True)
class Finding:
    """Something to be told of a host. level: TROUBLE, DIFFERENCE or NOTICE; about: what of it, as the columns say."""

    host: str
    level: str
    about: str
    text: str


@dataclass(frozen=True)
class PortState:
    """A port as one vantage saw it. state: open, troubled, closed, or unseen when the vantage could not look."""

    vantage: str
    port: int
    tls: str
    state: str
    problem: str = ""
    version: str = ""
    fingerprint: str = ""
    offers: tuple[str, ...] = ()
    seconds: float | None = None


@dataclass(frozen=True)
class RelayState:
    """One relay. `unreachable` is why nothing could be read, "" when something was."""

    host: str
    siblings: str = "relays"
    unreachable: str = ""
    reading: Mapping[str, Any] = field(default_factory=dict)
    ports: tuple[PortState, ...] = ()
    blind: Mapping[str, str] = field(default_factory=dict)
    """Vantages that could not look, and why."""
    certificate: x509.Certificate | None = None
    before: Mapping[str, Any] = field(default_factory=dict)
    """The relay in the JSON of the last run; {} without one."""

    @property
    def agent(self) -> Mapping[str, Any] | None:
        """What the running agent says; None when none runs."""
        return self.reading.get("agent") or None

    @property
    def drained(self) -> Mapping[str, Any] | None:
        """`since` (seconds since the epoch, 0 when unknown) and `because`, on a relay that takes no mail on purpose."""
        return (self.agent or {}).get("drained") or None

    @property
    def queue(self) -> Mapping[str, Any] | None:
        """Messages, recipients, bytes, held, oldest (seconds), reasons; None when no agent runs."""
        return self.reading.get("queue") or None

    @property
    def counts(self) -> Mapping[str, float] | None:
        """What was counted since the agent's start."""
        return self.reading.get("counts") or None

    @property
    def release(self) -> Mapping[str, str] | None:
        """id, version, made_from and platform of the release in use."""
        return self.reading.get("release") or None

    @property
    def digest(self) -> str | None:
        """Hash of the settings that siblings share."""
        return self.reading.get("digest")

    @property
    def days_left(self) -> float | None:
        """Days until the certificate runs out, by the relay's own clock; negative when it has."""
        if self.certificate is None:
            return None
        return (self.certificate.not_valid_after_utc.timestamp() - float(self.reading["read_at"])) / 86400

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the certificate on the disk, hexadecimal; "" without one."""
        return self.certificate.fingerprint(hashes.SHA256()).hex() if self.certificate else ""

    @property
    def started(self) -> float | None:
        """When the agent started, in seconds since the epoch by the relay's clock."""
        return float(self.reading["read_at"]) - float(self.agent["uptime"]) if self.agent else None

    @property
    def recent(self) -> tuple[Mapping[str, float], str] | None:
        """What was counted since the last run, or else since the agent's start, and since when in words."""
        now, then = self.counts, self.before.get("since_start")
        if now is None or self.started is None:
            return None
        started, at = self.before.get("started"), self.before.get("read_at")
        # The same agent all the while; its clock may have been set a little.
        if then and started is not None and at is not None and abs(float(started) - self.started) < _CLOCK:
            less = {name: value - float(then.get(name, 0)) for name, value in now.items()}
            if all(value >= 0 for value in less.values()):
                return less, f"the last report {span(float(self.reading['read_at']) - float(at))} before"
        return now, "the agent's start"

    @property
    def failed_share(self) -> float | None:
        """Of the recipients that were done with in `recent`, how many failed: 0 to 1; None when none was."""
        counts = self.recent[0] if self.recent else None
        done = counts["delivered"] + counts["failed"] if counts else 0
        return counts["failed"] / done if counts and done else None


def read_state(
    host: str,
    siblings: str,
    read: Mapping[str, Any],
    knocked: Mapping[str, Any],
    before: Mapping[str, Any] | None = None,
) -> RelayState:
    """A relay's state from what agent_status and port_knock registered for it ({} when they did not run).

    `knocked` is the result of a loop over the vantages; `before` the relay in the JSON of the last run.
    """
    ports, blind = _ports(knocked)
    if "reading" not in read:
        why = _first_line(str(read.get("msg") or "it gave no answer"))
        return RelayState(host, siblings, unreachable=why, ports=ports, blind=blind)
    reading = dict(read["reading"])
    certificate = None
    if reading.get("certificate"):
        try:
            certificate = parse_chain(reading["certificate"], "the certificate")[0]
        except CertificateError as error:
            reading["problems"] = [*reading.get("problems", ()), str(error)]
    return RelayState(host, siblings, "", reading, ports, blind, certificate, before or {})


def _ports(knocked: Mapping[str, Any]) -> tuple[tuple[PortState, ...], dict[str, str]]:
    ports: list[PortState] = []
    blind: dict[str, str] = {}
    results: Sequence[Mapping[str, Any]] = knocked.get("results", ())
    if not results:
        # Nothing seen must not look like nothing wrong.
        blind[NOBODY] = _first_line(str(knocked.get("msg") or "relay_status_vantages names no host"))
    for result in results:
        vantage = str(result.get("item", "?"))
        if "ports" not in result:
            blind[vantage] = _first_line(str(result.get("msg") or "it gave no answer"))
            continue
        ports += [
            PortState(
                vantage=vantage, port=int(each["port"]), tls=str(each["tls"]), state=str(each["state"]),
                problem=_first_line(str(each["problem"])), version=str(each["version"]),
                fingerprint=str(each["fingerprint"]), offers=tuple(each["offers"]), seconds=each["seconds"],
            )
            for each in result["ports"]
        ]  # fmt: skip
    return tuple(ports), blind


def _first_line(text: str) -> str:
    # ansible-core 2.19 begins with two words that say nothing.
    return text.strip().removeprefix("Task failed: ").partition("\n")[0]
