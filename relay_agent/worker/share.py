# SPDX-License-Identifier: GPL-3.0-or-later
"""What a worker makes of the configuration, which is the host's."""

from __future__ import annotations

from typing import Any

from relay_agent.accounts.store import load_accounts
from relay_agent.config.schema import Config

__all__ = ["needed_accounts", "share"]


def needed_accounts(config: Config) -> dict[str, Any]:
    """The accounts by name; none where nobody can sign in. Raises AccountsError."""
    if all(listener.auth == "none" for listener in config.listener):
        return {}
    return dict(load_accounts(config.accounts.file))


def share(config: Config, workers: int) -> Config:
    """The configuration with a worker's part of the connections that the host may have to other hosts, at least one."""
    delivery = config.delivery
    most = {
        name: max(1, -(-getattr(delivery, name) // workers))
        for name in ("max_connections", "max_connections_per_destination")
    }
    shaping = tuple(
        rule.model_copy(
            update={
                "connections": rule.connections and max(1, -(-rule.connections // workers)),
                "messages_per_minute": rule.messages_per_minute and rule.messages_per_minute / workers,
            }
        )
        for rule in config.shaping
    )
    return config.model_copy(update={"delivery": delivery.model_copy(update=most), "shaping": shaping})
