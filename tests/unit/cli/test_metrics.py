# SPDX-License-Identifier: GPL-3.0-or-later
"""The running agent's metrics on the command line, over a real control socket."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from relay_agent.cli.main import main
from relay_agent.control.server import ControlServer

FAMILY = {"name": "postroad_x_total", "type": "counter", "help": "X.", "samples": [{"labels": {"a": "b"}, "value": 3}]}


async def printed(config: Path, *options: str) -> int:
    async def metrics(_: dict[str, Any]) -> dict[str, Any]:
        return {"metrics": [FAMILY]}

    server = ControlServer(config.parent / "control.sock", {"metrics": metrics})
    await server.start()
    try:
        return await asyncio.to_thread(main, ["metrics", "--config", str(config), *options])
    finally:
        await server.close()


async def test_in_the_text_format(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert await printed(config) == 0
    assert capsys.readouterr().out == (
        '# HELP postroad_x_total X.\n# TYPE postroad_x_total counter\npostroad_x_total{a="b"} 3\n'
    )


async def test_as_json(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert await printed(config, "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"metrics": [FAMILY]}


def test_without_an_agent_nothing_is_printed(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["metrics", "--config", str(config)]) == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert "no agent listens" in output.err
