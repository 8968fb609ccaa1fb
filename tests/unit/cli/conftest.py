# SPDX-License-Identifier: GPL-3.0-or-later
"""A configuration whose places are all in a temporary directory."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "agent.toml"
    path.write_text(f"""
        hostname = "relay.test"
        [[listener]]
        address = "127.0.0.1"
        port = 2587
        tls = "none"
        [accounts]
        file = "{tmp_path}/accounts.toml"
        [queue]
        directory = "{tmp_path}/queue"
        [control]
        socket = "{tmp_path}/control.sock"
        """)
    return path
