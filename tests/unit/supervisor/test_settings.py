# SPDX-License-Identifier: GPL-3.0-or-later
"""What the supervisor goes by after a start and after a reload, when the file has changed meanwhile."""

import asyncio
import os
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from relay_agent.config.load import ConfigError
from relay_agent.supervisor import settings as settings_module
from relay_agent.supervisor.settings import Settings, changed_beyond_reload, check_release


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A configuration that is good."""
    path = tmp_path / "agent.toml"
    path.write_text(text(tmp_path))
    return path


def text(directory: Path, *, port: int = 0, queue: str = "queue", hostname: str = "relay.test", more: str = "") -> str:
    (directory / queue).mkdir(exist_ok=True)
    return (
        f'hostname = "{hostname}"\n'
        f'[[listener]]\naddress = "127.0.0.1"\nport = {port or free_port()}\ntls = "none"\nauth = "none"\n'
        '[submission]\ntrusted_networks = ["127.0.0.0/8"]\n'
        f'[queue]\ndirectory = "{directory / queue}"\n'
        f'[control]\nsocket = "{directory / "control.sock"}"\n{more}'
    )


def handed_over(settings: Settings) -> dict[str, Any]:
    """What an earlier program left to the next, its sockets among it."""
    ports = settings.open_ports()
    descriptors = [os.dup(fd) for fd in ports.descriptors]
    ports.close()
    return {**settings.export(), "listening": descriptors}


def test_a_reload_goes_by_the_file_as_it_is_now(file: Path, tmp_path: Path) -> None:
    before = Settings.read(file)
    port = before.config.listener[0].port
    state = handed_over(before)
    file.write_text(text(tmp_path, port=port, hostname="new.test", more="[process]\nworkers = 3\n"))
    after, ports = Settings.resume(file, state)
    assert (after.config.hostname, after.workers, after.problems) == ("new.test", 3, [])
    assert after.digest != before.digest
    ports.close()


@pytest.mark.parametrize("broken", ["hostname = ", 'nonsense = 1\nhostname = "relay.test"\n', "\0"])
def test_a_file_that_was_broken_after_its_check_is_not_gone_by(file: Path, broken: str) -> None:
    before = Settings.read(file)
    state = handed_over(before)
    file.write_text(broken)
    after, ports = Settings.resume(file, state)
    assert (after.text, after.digest) == (before.text, before.digest)
    assert all(str(file) in problem for problem in after.problems)
    assert after.problems
    with socket.create_connection(("127.0.0.1", before.config.listener[0].port), timeout=5):
        ports.close()
    # The next reload has the same to go by.
    assert after.export() == before.export()


def test_a_port_that_somebody_else_took_keeps_the_ports_that_there_are(file: Path, tmp_path: Path) -> None:
    before = Settings.read(file)
    state = handed_over(before)
    with socket.create_server(("127.0.0.1", 0)) as somebody:
        taken = somebody.getsockname()[1]
        file.write_text(text(tmp_path, port=taken))
        after, ports = Settings.resume(file, state)
    assert after.config.listener[0].port == before.config.listener[0].port
    assert str(taken) in after.problems[0]
    with socket.create_connection(("127.0.0.1", before.config.listener[0].port), timeout=5):
        ports.close()


def test_another_queue_takes_a_restart(file: Path, tmp_path: Path) -> None:
    before = Settings.read(file)
    port = before.config.listener[0].port
    assert changed_beyond_reload(before) == []
    state = handed_over(before)
    file.write_text(text(tmp_path, port=port, queue="elsewhere"))
    refused = [f"{file}: queue: is changed by a restart only"]
    assert changed_beyond_reload(before) == refused
    after, ports = Settings.resume(file, state)
    assert after.problems == refused
    assert after.config.queue.directory == before.config.queue.directory
    ports.close()


def test_what_only_a_newer_release_understands_is_left_to_it(file: Path, tmp_path: Path) -> None:
    before = Settings.read(file)
    file.write_text(text(tmp_path, more="[of_tomorrow]\nkey = 1\n"))
    assert changed_beyond_reload(before) == []


def test_a_drained_host_says_so_after_a_reload_too(file: Path, tmp_path: Path) -> None:
    state = handed_over(Settings.read(file))
    (tmp_path / "drained.json").write_text('{"since": 1.0, "because": "new host"}')
    after, ports = Settings.resume(file, state)
    assert after.drained is not None
    assert after.drained.because == "new host"
    assert ports.descriptors == []


def test_a_file_that_is_not_there_is_no_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.toml"):
        Settings.read(tmp_path / "nowhere.toml")


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ('print(\'{"good": true, "problems": []}\')', []),
        (
            'print(\'{"good": false, "problems": [{"where": "a.toml", "key": "tls", "problem": ""}]}\'); sys.exit(2)',
            ["a.toml: tls"],
        ),
        (
            'print(\'{"good": true, "problems": []}\'); sys.exit(1)',
            ["the current release refuses the configuration without a reason"],
        ),
        ('sys.exit("no such module")', ["the current release does not work: no such module"]),
        ("print([])", ["the current release does not work: []"]),
        ("print('x' * 10_000)", [f"the current release does not work: {'x' * 500}"]),
    ],
)
async def test_another_release_says_for_itself(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str, told: list[str]
) -> None:
    command = [sys.executable, "-c", f"import sys; {script}"]
    monkeypatch.setattr(settings_module, "check_command", lambda path: command)
    assert await check_release(tmp_path / "a.toml", changed=True) == told


async def test_a_release_that_is_gone_or_hangs_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(settings_module, "_CHECK_WITHIN", 0.3)
    for command in (["/nowhere/relay-agent"], ["/bin/sleep", "60"]):
        monkeypatch.setattr(settings_module, "check_command", lambda path, command=command: command)
        (problem,) = await check_release(tmp_path / "a.toml", changed=True)
        assert problem.startswith("the current release cannot be asked: ")


def test_the_same_release_needs_no_other_program(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings_module, "check_command", lambda path: pytest.fail("it was asked"))
    assert asyncio.run(check_release(file, changed=False)) == []
    file.write_text("nonsense = 1\n")
    assert any("nonsense" in problem for problem in asyncio.run(check_release(file, changed=False)))
