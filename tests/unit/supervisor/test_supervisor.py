# SPDX-License-Identifier: GPL-3.0-or-later
"""What of the supervisor needs no running agent; tests/integration/agent runs the whole of it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from relay_agent.config.load import ConfigError
from relay_agent.supervisor.supervisor import run


def test_a_bad_configuration_is_no_agent(tmp_path: Path) -> None:
    (tmp_path / "agent.toml").write_text("nonsense = 1\n")
    with pytest.raises(ConfigError, match="nonsense"):
        run(tmp_path / "agent.toml")


def test_what_only_workers_do_is_not_loaded() -> None:
    """Stores, delivery and the DNS library are 3 MB in a process that has no use for them."""
    program = "import json, sys, relay_agent.supervisor.supervisor; print(json.dumps(list(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    loaded = set(json.loads(done.stdout))
    assert "relay_agent.queue.lock" in loaded
    workers = {"queue.embedded", "queue.journaled", "control.operator", "delivery.hand", "delivery.resolve", "message"}
    assert not loaded & {"aiodns", "pycares", "aiosmtpd", *(f"relay_agent.{name}" for name in workers)}
