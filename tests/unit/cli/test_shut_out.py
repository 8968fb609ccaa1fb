# SPDX-License-Identifier: GPL-3.0-or-later
"""relay-agent shut-out."""

import json
import socket
import time
from pathlib import Path

import pytest

from relay_agent.cli.main import main


def test_the_list_has_those_that_are_shut_out_still(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = tmp_path / "active.json"
    now = time.time()
    state.write_text(json.dumps({"198.51.100.7": now + 90, "198.51.100.8": now - 1}))
    assert main(["shut-out", "list", "--state", str(state), "--json"]) == 0
    (entry,) = json.loads(capsys.readouterr().out)
    assert entry["address"] == "198.51.100.7"
    assert 80 < entry["seconds"] <= 90
    assert main(["shut-out", "list", "--state", str(state)]) == 0
    assert capsys.readouterr().out.startswith("198.51.100.7  until 20")
    assert main(["shut-out", "list", "--state", str(tmp_path / "none")]) == 0
    assert capsys.readouterr().out == "no address is shut out\n"


def test_release_asks_the_service(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notices"))
        command = ["shut-out", "release", "--socket", str(tmp_path / "notices")]
        assert main([*command, "2001:db8:1:2::7"]) == 0
        assert json.loads(listener.recv(2048)) == {"release": "2001:db8:1:2::"}
    assert "2001:db8:1:2:: is let in again" in capsys.readouterr().out
    assert main([*command, "nonsense"]) == 1
    assert "nonsense: not an address" in capsys.readouterr().err
    assert main([*command, "198.51.100.7"]) == 1
    assert "nobody is there" in capsys.readouterr().err


def test_bad_settings_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = tmp_path / "settings.json"
    settings.write_text('{"within": 0}')
    assert main(["shut-out", "run", "--settings", str(settings)]) == 2
    assert "within is 0" in capsys.readouterr().err
