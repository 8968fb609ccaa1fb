# SPDX-License-Identifier: GPL-3.0-or-later
"""What is asked of systemd."""

from __future__ import annotations

from pathlib import Path

import pytest

from relay_agent.certificates.agent_unit import AgentUnit
from relay_agent.certificates.problem import CertificateError


@pytest.fixture
def systemctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A systemctl that writes down what it is asked; its exit status is in a file."""
    program = tmp_path / "systemctl"
    says = 'printf "refused\\nsee there\\n" >&2'
    program.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n{says}\nexit $(cat {tmp_path}/status)\n')
    program.chmod(0o755)
    (tmp_path / "status").write_text("0")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return tmp_path


def test_it_runs_and_is_reloaded(systemctl: Path) -> None:
    agent = AgentUnit(systemctl / "agent.toml")
    assert agent.running()
    agent.reload()
    assert (systemctl / "asked").read_text().splitlines() == [
        "is-active --quiet relay-agent.service",
        "reload relay-agent.service",
    ]


def test_it_refuses(systemctl: Path) -> None:
    (systemctl / "status").write_text("1")
    agent = AgentUnit(systemctl / "agent.toml")
    assert not agent.running()
    with pytest.raises(CertificateError, match=r"relay-agent\.service could not be reloaded: refused see there$"):
        agent.reload()


def test_it_runs_and_is_drained(systemctl: Path) -> None:
    agent = AgentUnit(systemctl / "agent.toml")
    assert not agent.drained()
    (systemctl / "drained.json").write_text("{}")
    assert agent.running()
    assert agent.drained()


def test_there_is_no_systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CertificateError, match="systemctl reload"):
        AgentUnit(tmp_path / "agent.toml").reload()
