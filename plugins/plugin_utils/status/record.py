# SPDX-License-Identifier: GPL-3.0-or-later
"""The state of the fleet as JSON, for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from ansible_collections.postroad.relay.plugins.plugin_utils.status.judgement import level_of, verdict
from ansible_collections.postroad.relay.plugins.plugin_utils.status.state import Finding, RelayState

__all__ = ["FORMAT", "as_record", "last_run"]

FORMAT = 1
"""Raised when a key changes its meaning or goes away; new keys leave it as it is."""

_AGENT = ("hostname", "version", "uptime", "sessions", "workers", "listeners", "port25", "quarantined", "listed")


def as_record(relays: Sequence[RelayState], findings: Sequence[Finding], at: float) -> dict[str, Any]:
    """JSON-ready. Times are ISO 8601 in UTC; `read_at` and `started` seconds since the epoch by the relay's
    clock; spans seconds, shares 0 to 1. Digests of secrets are left out."""
    return {
        "format": FORMAT,
        "at": f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}",
        "verdict": verdict(relays, findings),
        "relays": [_relay(relay, findings) for relay in relays],
        "findings": [asdict(finding) for finding in findings],
    }


def last_run(text: str) -> dict[str, Any]:
    """The relays of an earlier record by host; {} for a text that is none."""
    try:
        record = json.loads(text)
        if record["format"] != FORMAT:
            return {}
        return {relay["host"]: relay for relay in record["relays"]}
    except (ValueError, LookupError, TypeError):
        return {}


def _relay(relay: RelayState, findings: Sequence[Finding]) -> dict[str, Any]:
    certificate = relay.certificate
    agent = relay.agent
    return {
        "host": relay.host,
        "siblings": relay.siblings,
        "level": level_of(relay.host, findings) or "well",
        "unreachable": relay.unreachable or None,
        "release": dict(relay.release) if relay.release else None,
        "settings": {"digest": relay.digest, "values": relay.reading.get("settings")} if relay.digest else None,
        "certificate": {
            "not_after": f"{certificate.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}",
            "days_left": round(relay.days_left or 0.0, 2),
            "fingerprint": relay.fingerprint,
        }
        if certificate
        else None,
        "agent": {key: agent[key] for key in _AGENT} if agent else None,
        "queue": dict(relay.queue) if relay.queue else None,
        # The next run counts from these.
        "read_at": relay.reading.get("read_at"),
        "started": relay.started,
        "since_start": dict(relay.counts) if relay.counts else None,
        "failed_share": relay.failed_share,
        "ports": [asdict(port) for port in relay.ports],
        "could_not_look": dict(relay.blind),
    }
