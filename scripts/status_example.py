# SPDX-License-Identifier: GPL-3.0-or-later
"""A made-up fleet for the page of playbooks/status.yml: for its tests, and for the picture in docs/status.md.

``python scripts/status_example.py PAGE.html`` writes the page; with a second name that ends in .png chromium, where it
is installed, makes a picture of it.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from streaming import ROOT

sys.path.append(str(ROOT / ".venv/collections"))

from ansible_collections.postroad.relay.plugins.plugin_utils.status.judgement import Thresholds, judge
from ansible_collections.postroad.relay.plugins.plugin_utils.status.page import page
from ansible_collections.postroad.relay.plugins.plugin_utils.status.state import RelayState, read_state
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

__all__ = ["AT", "LISTENERS", "fleet", "knocked", "page_of", "reading", "screenshot"]

AT = datetime(2026, 11, 28, 18, 0, tzinfo=UTC).timestamp()
LISTENERS = {587: "starttls", 2525: "starttls", 8025: "starttls", 465: "implicit", 2465: "implicit", 443: "implicit"}
_OFFERS = ["8BITMIME", "AUTH LOGIN PLAIN SCRAM-SHA-256", "PIPELINING", "SIZE 52428800"]
_SILENCE = "no answer in time (a packet filter drops it, or the host is away)"


def certificate(days: float) -> str:
    """A certificate in PEM that runs out so many days after AT."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "relay.example.org")])
    now = datetime.fromtimestamp(AT, UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=200))
        .not_valid_after(now + timedelta(days=days))
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM).decode()


def reading(
    *, days: float = 80, counts: tuple[int, int, int] | None = (12000, 40, 30), **changes: Any
) -> dict[str, Any]:
    """What agent_status reads at a relay that is well. counts: delivered, deferred, failed; changes: other keys."""
    delivered, deferred, failed = counts or (0, 0, 0)
    listeners = [{"port": port, "tls": tls} for port, tls in LISTENERS.items()]
    return {
        "read_at": AT,
        "installed": True,
        "release": {"id": "b00860a1b2d334b4", "version": "0.1.0", "made_from": "f42359b1fabf", "platform": ""},
        "settings": {"delivery.retry_for": '"5d"', "submission.max_message_size": "52428800"},
        "digest": "e3f0bc4c6a00",
        "by_hand": False,
        "secrets": {},
        "accounts": {"anna": "1", "printer": "2"},
        "certificate": certificate(days),
        "units": {"relay-agent.socket": "active, enabled", "relay-agent.service": "active, enabled"},
        "problems": [],
        "agent": {
            "hostname": "relay.example.org", "version": "0.1.0", "uptime": 262800.0, "sessions": 3, "workers": 2,
            "listeners": listeners, "port25": "open", "quarantined": 0, "listed": [], "upstreams_in_trouble": [],
        },
        "queue": {"messages": 0, "recipients": 0, "bytes": 0, "held": 0, "oldest": 0.0, "reasons": []},
        "counts": {
            "delivered": delivered, "deferred": deferred, "failed": failed, "accepted": delivered, "refused": 3,
            "sign_ins_failed": 1, "worker_restarts": 0,
        }
        if counts
        else None,
        **changes,
    }  # fmt: skip


def waiting(oldest: float, *reasons: tuple[str, int]) -> dict[str, Any]:
    """A queue with a message for each recipient. oldest: seconds."""
    number = sum(recipients for _, recipients in reasons)
    told = [{"reason": reason, "recipients": each, "destinations": ["example.net"]} for reason, each in reasons]
    return {"messages": number, "recipients": number, "bytes": 9, "held": 0, "oldest": oldest, "reasons": told}


def knocked(
    fingerprint: str = "", closed: Sequence[int] = (), vantage: str = "laptop", offers: Sequence[str] = _OFFERS
) -> dict[str, Any]:
    """What port_knock saw from one vantage, registered of a loop."""
    good = {
        "state": "open", "problem": "", "greeting": "220", "version": "TLSv1.3", "verified": True,
        "fingerprint": fingerprint, "offers": list(offers), "seconds": 0.012,
    }  # fmt: skip
    shut = good | {"state": "closed", "problem": _SILENCE, "version": "", "fingerprint": "", "offers": []}
    ports = [
        (shut if port in closed else good) | {"port": port, "tls": tls, "seconds": None if port in closed else 0.012}
        for port, tls in LISTENERS.items()
    ]
    return {"results": [{"item": vantage, "ports": ports}]}


def relay(host: str, read: dict[str, Any], **seen: Any) -> RelayState:
    """A relay's state; its ports show the certificate that is on its disk."""
    fingerprint = read_state(host, "relays", {"reading": read}, {}).fingerprint
    return read_state(host, "relays", {"reading": read}, knocked(fingerprint, **seen))


def fleet() -> list[RelayState]:
    """Four relays: mail waits at one, another's certificate runs out, the third differs, the fourth is away."""
    greylisted = "mx.example.net answered 451 4.7.1 greylisted, please try again in * seconds"
    silence = "connection timed out"
    small = {"delivery.retry_for": '"5d"', "submission.max_message_size": "26214400"}
    offers = [*_OFFERS[:-1], "SIZE 26214400"]
    away = "Failed to connect to the host via ssh: connect to host relay4.example.org port 22: Connection timed out"
    return [
        relay("relay1.example.org", reading(queue=waiting(5400.0, (greylisted, 21), (silence, 16)))),
        relay(
            "relay2.example.org", reading(days=11, counts=(9000, 3000, 1500), queue=waiting(700.0, (silence, 4)))
        ),
        relay(
            "relay3.example.org", reading(settings=small, digest="77aa12bd90ef", days=64), offers=offers, closed=[443]
        ),
        read_state(
            "relay4.example.org", "relays", {"unreachable": True, "msg": away}, knocked(closed=list(LISTENERS))
        ),
    ]  # fmt: skip


def page_of(relays: Sequence[RelayState]) -> str:
    """The page with what is usually told."""
    limits = Thresholds()
    return page(relays, judge(relays, limits), limits, AT)


def screenshot(source: Path, target: Path, *, width: int, height: int, dark: bool = False) -> None:
    """A picture of a page, by chromium. Raises FileNotFoundError without it, CalledProcessError when it fails."""
    # Named by its number: 0 is dark, 1 light.
    scheme = f"--blink-settings=preferredColorScheme={0 if dark else 1}"
    with tempfile.TemporaryDirectory() as profile:
        subprocess.run(
            [
                "chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", scheme,
                f"--user-data-dir={profile}", f"--window-size={width},{height}", f"--screenshot={target}",
                source.resolve().as_uri(),
            ],
            check=True, capture_output=True, timeout=120,
        )  # fmt: skip


def main(names: Sequence[str]) -> int:
    """See the module's documentation."""
    source = Path(names[0])
    source.write_text(page_of(fleet()), encoding="utf-8")
    for name in names[1:]:
        screenshot(source, Path(name), width=1000, height=1360)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
