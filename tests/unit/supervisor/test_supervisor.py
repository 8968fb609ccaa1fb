# SPDX-License-Identifier: GPL-3.0-or-later
"""What of the supervisor needs no running agent; tests/integration/agent runs the whole of it."""

from pathlib import Path

import pytest

from relay_agent.config.load import ConfigError
from relay_agent.supervisor.supervisor import run


def test_a_bad_configuration_is_no_agent(tmp_path: Path) -> None:
    (tmp_path / "agent.toml").write_text("nonsense = 1\n")
    with pytest.raises(ConfigError, match="nonsense"):
        run(tmp_path / "agent.toml")
