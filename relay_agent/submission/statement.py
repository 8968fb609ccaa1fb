# SPDX-License-Identifier: GPL-3.0-or-later
"""What this relay says of itself, from its configuration."""

from __future__ import annotations

from relay_agent.config.schema import Config

__all__ = ["signed_statement"]


def signed_statement(config: Config, now: float) -> str:
    """See `relay_agent.probe.statement`. Reads the key; empty without TLS. Raises OSError, ValueError, TypeError."""
    if config.tls is None:
        return ""
    # Its library takes some time to load: only where it is used.
    from relay_agent.probe.statement import make_statement

    ports = list(dict.fromkeys((each.port, each.tls) for each in config.listener))
    return make_statement(config.hostname, ports, config.tls.certificate.read_bytes(), config.tls.key.read_bytes(), now)
