# SPDX-License-Identifier: GPL-3.0-or-later
import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from relay_agent.accounts.hashing import DUMMY_HASH
from relay_agent.accounts.store import Account, render
from relay_agent.cli.main import main
from relay_agent.control.server import ControlServer


@pytest.fixture
def good(config: Path) -> Path:
    (config.parent / "accounts.toml").write_text(render({"alice": Account("alice", DUMMY_HASH)}))
    return config


def test_a_good_file_is_0(good: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check-config", str(good)]) == 0
    assert capsys.readouterr().out == f"{good}: good\n"
    assert main(["check-config", "--json", str(good)]) == 0
    assert json.loads(capsys.readouterr().out) == {"file": str(good), "good": True, "problems": [], "warnings": []}


def test_a_bad_file_is_2_and_each_problem_a_line(good: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good.write_text(good.read_text().replace("2587", "99999").replace("hostname", "hostnam"))
    assert main(["check-config", str(good)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    problems = [line for line in captured.err.splitlines() if line.startswith(f"{good}: ")]
    assert len(problems) == 3
    assert f"{good}: listener[0].port: 99999 is not a port" in captured.err
    assert "has 3 problems" in captured.err
    assert main(["check-config", "--json", str(good)]) == 2
    shown = json.loads(capsys.readouterr().out)
    assert not shown["good"]
    assert {problem["key"] for problem in shown["problems"]} == {"hostname", "hostnam", "listener[0].port"}


def test_the_text_alone_can_be_judged_elsewhere(good: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (good.parent / "accounts.toml").unlink()
    assert main(["check-config", str(good)]) == 2
    assert "accounts.file" in capsys.readouterr().err
    assert main(["check-config", "--text-only", str(good)]) == 0


def test_a_warning_does_not_stop_anything(good: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (good.parent / "accounts.toml").write_text("")
    assert main(["check-config", str(good)]) == 0
    assert "warning: " in capsys.readouterr().out


def test_no_agent_no_status(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--config", str(config)]) == 1
    assert "not running" in capsys.readouterr().out
    assert main(["status", "--json", "--config", str(config)]) == 1
    assert json.loads(capsys.readouterr().out) == {"running": False}


async def test_the_status_of_a_running_agent(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    destination = {"name": "beta.test\x1b", "waiting": 3, "active": 1, "blocked_for": 12.0, "last_error": "busy\x07"}
    state = {
        "hostname": "relay.test",
        "version": "0.1.0",
        "pid": 7,
        "uptime": 3700.0,
        "listeners": [{"address": "", "port": 587, "tls": "starttls", "auth": "required"}],
        "sessions": 2,
        "accounts": 1,
        "counters": {"accepted": 5, "sign_in_failures": 1, "commit_microseconds": 12_000},
        "queue": {"messages": 1, "recipients": 2, "held": 1, "bytes": 4096},
        "delivery": {"in_hand": 1, "destinations": [destination] * 25},
    }

    async def status(_: dict[str, Any]) -> dict[str, Any]:
        return state

    server = ControlServer(config.parent / "control.sock", {"status": status})
    await server.start()
    try:
        assert await asyncio.to_thread(main, ["status", "--config", str(config)]) == 0
        text = capsys.readouterr().out
        assert text.startswith("relay.test: running for 1 h 1 min, release 0.1.0, process 7\n")
        assert "every address   587  starttls  required" in text
        assert "queue: 1 message for 2 recipients, 4.1 KB, 1 held" in text
        assert "  sign in failures: 1" in text
        assert "  on average to the disk in: 2.4 ms" in text
        assert r"beta.test\x1b        3       1  in 12 s      busy\x07" in text
        assert "(5 more; --json shows all)" in text
        assert text.replace("\n", "").isprintable()
        assert await asyncio.to_thread(main, ["status", "--json", "--config", str(config)]) == 0
        assert json.loads(capsys.readouterr().out) == {"running": True, **state}
    finally:
        await server.close()
