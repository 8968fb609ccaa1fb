# SPDX-License-Identifier: GPL-3.0-or-later
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from relay_agent import __version__
from relay_agent.cli.main import main

COMMANDS = [
    ["serve"],
    ["check-config"],
    ["self-test"],
    ["status"],
    ["metrics"],
    *(["queue", action] for action in ("list", "show", "retry", "delete")),
    *(["account", action] for action in ("add", "list", "passwd", "delete", "disable", "enable", "sync")),
]
ROOT = Path(__file__).parents[3]


def run(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # type: ignore[call-overload,no-any-return]
        [sys.executable, "-m", "relay_agent", *arguments],
        **{"capture_output": True, "text": True, "cwd": ROOT, "timeout": 60, **options},
    )


@pytest.mark.parametrize("command", [[], ["queue"], ["account"], *COMMANDS])
def test_help_has_examples(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([*command, "--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert "examples:\n  " in text
    assert "relay-agent " + " ".join(command) in text


@pytest.mark.parametrize(
    "arguments",
    [
        "",
        "nonsense",
        "queue",
        "queue show",
        "queue delete",
        "queue retry",
        "queue list --limit=-1",
        "account add",
        "account add a --generate --password-stdin",
        "account add a --password secret",
    ],
)
def test_a_bad_command_line_is_2(arguments: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments.split())
    assert caught.value.code == 2
    assert "usage: relay-agent" in capsys.readouterr().err


def test_the_version_is_there_at_once() -> None:
    result = run("--version")
    assert result.stdout == f"relay-agent {__version__}\n"
    loaded = run("--version", env={**os.environ, "PYTHONPROFILEIMPORTTIME": "1"}).stderr
    assert "pydantic" not in loaded
    assert "asyncio" not in loaded


def test_it_says_so_when_there_is_no_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [])  # `serve` leaves SIGHUP blocked, as a process of its own may
    try:
        for command in (["status"], ["queue", "list"], ["account", "list"], ["serve"]):
            assert main([*command, "--config", str(tmp_path / "agent.toml")]) == 2
            assert f"{tmp_path}/agent.toml: cannot be read: no such file" in capsys.readouterr().err
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def test_a_reader_that_has_seen_enough_is_no_error(tmp_path: Path) -> None:
    bad = tmp_path / "agent.toml"
    bad.write_text("".join(f"key{number} = 1\n" for number in range(90)))
    command = f"{sys.executable} -m relay_agent check-config --json {bad} | head -1; echo ${{PIPESTATUS[0]}}"
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=ROOT)
    assert result.stdout.startswith("{\n")
    assert result.stderr == ""


def colours(tmp_path: Path, **environment: str) -> bool:
    """Whether the output on a real terminal is coloured."""
    terminal, end = os.openpty()
    try:
        variables = {**{k: v for k, v in os.environ.items() if k != "NO_COLOR"}, "TERM": "xterm", **environment}
        run("check-config", str(tmp_path), capture_output=False, stdout=end, stderr=end, env=variables)
        return b"\x1b[" in os.read(terminal, 65_536)
    finally:
        os.close(terminal)
        os.close(end)


def test_colour_is_for_terminals_that_want_it(tmp_path: Path) -> None:
    assert colours(tmp_path)
    assert not colours(tmp_path, NO_COLOR="1")
    assert not colours(tmp_path, TERM="dumb")
    assert "\x1b" not in run("check-config", str(tmp_path)).stderr
