# SPDX-License-Identifier: GPL-3.0-or-later
"""testssl.sh, which knows the faults of TLS servers, finds nothing of note on a port with the agent's defaults."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from .conftest import Agent

NAME = "relay.test"
# OK, INFO and LOW are for those who want to read them, and WARN is about the openssl that testssl.sh runs with.
_OF_NOTE = {"MEDIUM", "HIGH", "CRITICAL", "FATAL"}
# What is said of the certificate, which is one of this test, is about its authority and not about the agent.
_OF_THE_CERTIFICATE = "cert"


def _findings(target: list[str], report: Path) -> list[dict[str, Any]]:
    """What testssl.sh has to say of a port."""
    quiet = ["--quiet", "--warnings=off", "--color=0", "--ip=127.0.0.1", "--nodns=none"]
    command = ["testssl", *quiet, f"--jsonfile={report}", *target]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=500, check=False)
    assert report.exists(), done.stdout + done.stderr
    found: list[dict[str, Any]] = json.loads(report.read_text())
    return found


_EVERYTHING = ["--protocols", "--std", "--fs", "--server-defaults", "--server-preference", "--vulnerable"]
# The same settings behind STARTTLS: what could differ is how the handshake is got at.
_AT_STARTTLS = ["--starttls=smtp", "--protocols", "--std", "--renegotiation", "--heartbleed", "--ccs-injection"]


@pytest.mark.parametrize(("what", "least"), [(_EVERYTHING, 40), (_AT_STARTTLS, 15)], ids=["implicit", "starttls"])
def test_nothing_of_note(agent: Agent, tmp_path: Path, what: list[str], least: int) -> None:
    agent.start()
    port = agent.starttls if what is _AT_STARTTLS else agent.implicit
    findings = _findings([*what, f"{NAME}:{port}"], tmp_path / "report.json")
    named = {each["id"]: each for each in findings}
    # It has really spoken to the port.
    assert named["TLS1_2"]["severity"] == "OK"
    assert named["TLS1_3"]["severity"] == "OK"
    assert named["SSLv3"]["finding"] == "not offered"
    assert named["TLS1"]["finding"] == "not offered"
    assert len(findings) > least
    bad = {
        each["id"]: each
        for each in findings
        if each["severity"] in _OF_NOTE and not each["id"].startswith(_OF_THE_CERTIFICATE)
    }
    assert bad == {}
