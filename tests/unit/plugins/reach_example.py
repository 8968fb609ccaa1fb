# SPDX-License-Identifier: GPL-3.0-or-later
"""Relays as vantages saw them: with real certificates and signed statements, made once."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from relay_agent.probe.attempt import Attempt, End, Shown, Target
from relay_agent.probe.statement import make_statement
from relay_agent.probe.wire import as_json
from tests.integration.certificates import make_certificate

__all__ = ["LISTENERS", "authority", "relays", "seen", "tried"]

LISTENERS = ({"port": 587, "tls": "starttls"}, {"port": 465, "tls": "implicit"}, {"port": 443, "tls": "auto"})
_ADDRESSES: dict[Literal["ipv4", "ipv6"], str] = {"ipv4": "192.0.2.1", "ipv6": "2001:db8::1"}


@cache
def _pair(name: str) -> tuple[bytes, bytes]:
    """Certificate and key of a host, in PEM."""
    with tempfile.TemporaryDirectory() as directory:
        made = make_certificate(Path(directory), name)
        return made.certificate.read_bytes(), made.key.read_bytes()


def authority(*names: str) -> str:
    """What certifies these relays."""
    return "".join(_pair(f"{name}.test")[0].decode() for name in names)


def tried(vantage: str, **seen_of: list[dict[str, Any]] | str) -> dict[str, Any]:
    """A result of reach_try in a loop; for a relay its attempts, or why there are none."""
    found = {name: {"problem": each} if isinstance(each, str) else {"attempts": each} for name, each in seen_of.items()}
    return {"item": vantage, "changed": False, "python": "3.11.2", "relays": found}


def seen(
    name: str,
    *,
    listeners: tuple[dict[str, Any], ...] = LISTENERS,
    families: tuple[Literal["ipv4", "ipv6"], ...] = ("ipv4", "ipv6"),
    says: bool = True,
    said_ports: tuple[dict[str, Any], ...] | None = None,
    shows: str = "",
    signs: bool = False,
    **ends: Mapping[str, Any],
) -> list[dict[str, Any]]:
    """The attempts at a relay where all is well, but for those named: p443={"end": "silent"}, p443_ipv4={...}.

    shows: whose certificate it is, if not the relay's own. signs: its owner makes statements, too.
    """
    chain, key = _pair(shows if signs else f"{name}.test")
    ports = [(each["port"], each["tls"]) for each in (said_ports or listeners)]
    statement = make_statement(f"{name}.test", ports, chain, key, time.time())
    other = x509.load_pem_x509_certificate(_pair(shows or f"{name}.test")[0]).public_bytes(Encoding.DER)
    attempts = []
    for listener in listeners:
        for family in families:
            for mode in ("greeting", "tls"):
                target = Target(f"{name}.test", family, _ADDRESSES[family], listener["port"], mode)
                wrong = ends.get(f"p{listener['port']}_{family}") or ends.get(f"p{listener['port']}") or ends.get("all")
                speaks = listener["tls"] in ("auto", "starttls" if mode == "greeting" else "implicit")
                if wrong and wrong.get("mode", mode) == mode:
                    one = Attempt(
                        target, End(wrong["end"]), **{k: v for k, v in wrong.items() if k not in ("end", "mode")}
                    )
                elif speaks:
                    one = Attempt(target, End.SPOKE, 0.1, f"{name}.test ESMTP", mode == "greeting", auth=("PLAIN",))
                    one.shown = Shown("", other, "TLSv1.3")
                    one.statements = [statement] if says else []
                else:
                    one = Attempt(target, End.NO_GREETING if mode == "greeting" else End.NOT_TLS)
                attempts.append(as_json(one))
    return attempts


def relays(*names: str, **variables: Any) -> dict[str, dict[str, Any]]:
    """The hostvars of these relays."""
    return {name: {"relay_agent_hostname": f"{name}.test"} | variables for name in names}
