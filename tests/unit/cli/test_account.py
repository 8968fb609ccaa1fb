# SPDX-License-Identifier: GPL-3.0-or-later
import asyncio
import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from relay_agent.accounts.hashing import verify_password
from relay_agent.accounts.store import load_accounts
from relay_agent.cli.main import main
from relay_agent.control.protocol import FAILED, ControlError
from relay_agent.control.server import ControlServer


class Input(io.TextIOWrapper):
    """Standard input with these bytes in it."""

    def __init__(self, data: bytes) -> None:
        super().__init__(io.BytesIO(data))


@pytest.fixture
def run(config: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    def call(*arguments: str, data: bytes = b"") -> int:
        monkeypatch.setattr(sys, "stdin", Input(data))
        return main(["account", *arguments, "--config", str(config)])

    return call


@pytest.fixture
def accounts(tmp_path: Path) -> Path:
    return tmp_path / "accounts.toml"


def test_an_account_from_its_beginning_to_its_end(run: Any, accounts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("add", "Alice@Example.org", "--password-stdin", data=b"one\r\nrest") == 0
    assert verify_password(load_accounts(accounts)["alice@example.org"].hash, "one")
    captured = capsys.readouterr()
    assert captured.out == "alice@example.org: added\n"
    assert "no agent is running" in captured.err

    assert run("passwd", "alice@example.org", "--password-stdin", data=b"two") == 0
    assert verify_password(load_accounts(accounts)["alice@example.org"].hash, "two")
    assert run("disable", "ALICE@example.org") == 0
    assert load_accounts(accounts)["alice@example.org"].disabled
    capsys.readouterr()
    assert run("list", "--json") == 0
    (shown,) = json.loads(capsys.readouterr().out)
    assert (shown["name"], shown["disabled"]) == ("alice@example.org", True)
    assert "hash" not in shown
    assert run("disable", "alice@example.org") == 0
    assert "is disabled already" in capsys.readouterr().out
    assert run("enable", "alice@example.org") == 0
    assert run("delete", "alice@example.org") == 0
    assert load_accounts(accounts) == {}


def test_a_generated_password_works(run: Any, accounts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("add", "printer", "--generate") == 0
    assert verify_password(load_accounts(accounts)["printer"].hash, capsys.readouterr().out.strip())
    assert run("passwd", "printer", "--generate", "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert verify_password(load_accounts(accounts)["printer"].hash, shown["password"])
    assert shown["agent"] == "not running"


@pytest.mark.parametrize(
    ("arguments", "data", "words"),
    [
        (["add", "alice", "--password-stdin"], b"x", "alice exists already"),
        (["passwd", "alcie", "--password-stdin"], b"x", "no account alcie; did you mean alice?"),
        (["delete", "bob"], b"", "no account bob"),
        (["add", "bob", "--password-stdin"], b"", "empty"),
        (["add", "bob", "--password-stdin"], b"a\0b\n", "NUL"),
        (["add", "bob", "--password-stdin"], b"x" * 100_000, "longer than 1024 bytes"),
        (["add", "b b", "--password-stdin"], b"x", "no spaces"),
        (["add", "\x1b[2J", "--password-stdin"], b"x", r"\x1b"),
        (["add", "bob"], b"", "no terminal to ask"),
        (["sync"], b"", "not JSON"),
        (["sync"], b'[{"name": "a", "password": "s3cret"', "not JSON"),
        (["sync"], b"[" * 100_000, "not JSON"),
        (["sync"], b'[{"name": "a", "pasword": "s3cret"}]', "account[0]: 'pasword' is not a known key"),
    ],
)
def test_what_cannot_be_done_is_told_and_changes_nothing(
    run: Any, accounts: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], data: bytes, words: str
) -> None:
    run("add", "alice", "--password-stdin", data=b"x")
    before = accounts.read_bytes()
    capsys.readouterr()
    assert run(*arguments, data=data) == 1
    captured = capsys.readouterr()
    assert words in captured.err
    assert "s3cret" not in captured.err
    assert captured.out == ""
    assert accounts.read_bytes() == before


def test_a_sync_says_what_it_does(run: Any, accounts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wanted = b'[{"name": "alice", "password": "a"}, {"name": "bob", "password": "b"}]'
    assert run("sync", "--check", "--json", data=wanted) == 0
    expected = {"changed": True, "added": ["alice", "bob"], "updated": [], "removed": [], "agent": None}
    assert json.loads(capsys.readouterr().out) == expected
    assert not accounts.exists()
    assert run("sync", data=wanted) == 0
    assert capsys.readouterr().out == "added: alice\nadded: bob\n"
    assert run("sync", "--json", data=wanted) == 0
    assert json.loads(capsys.readouterr().out)["changed"] is False
    assert run("sync", "--check", data=b"[]") == 0
    assert capsys.readouterr().out == "would be removed: alice\nwould be removed: bob\n"


def test_a_file_can_be_named_before_there_is_a_configuration(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--config", str(tmp_path / "none.toml"), "--file", str(tmp_path / "a.toml")]
    assert main(["account", "add", "printer", "--generate", *arguments]) == 0
    assert main(["account", "list", *arguments]) == 0
    assert "printer" in capsys.readouterr().out


def test_a_damaged_file_is_told_with_its_entry(run: Any, accounts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    accounts.write_text("[[account]]\nname = 'bob'\n")
    assert run("list") == 1
    assert capsys.readouterr().err == f"{accounts}: account[0] ('bob'): hash is missing\n"


async def test_a_running_agent_is_told(run: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[int] = []

    async def reload(_: dict[str, Any]) -> None:
        seen.append(len(load_accounts(tmp_path / "accounts.toml")))
        if len(seen) > 1:
            raise ControlError(FAILED, "the disk is on fire")

    server = ControlServer(tmp_path / "control.sock", {"accounts.reload": reload})
    await server.start()
    try:
        assert await asyncio.to_thread(run, "add", "alice", "--generate") == 0
        assert seen == [1]
        assert "no agent" not in capsys.readouterr().err
        assert await asyncio.to_thread(run, "add", "bob", "--generate") == 0
        assert "has not taken this up: the disk is on fire" in capsys.readouterr().err
    finally:
        await server.close()


def test_a_password_is_asked_for_twice_without_echo(config: Path, accounts: Path) -> None:
    def typed(*lines: str) -> tuple[int, str]:
        terminal, end = os.openpty()
        command = [sys.executable, "-m", "relay_agent", "account", "add", "alice", "--config", str(config)]
        root = Path(__file__).parents[3]
        process = subprocess.Popen(
            command, stdin=end, stdout=end, stderr=end, start_new_session=True, cwd=root, close_fds=True
        )
        os.close(end)
        seen = b""
        for line in lines:
            deadline = time.monotonic() + 20
            while not seen.endswith(b": ") and time.monotonic() < deadline:
                seen += os.read(terminal, 1024)
            os.write(terminal, line.encode() + b"\n")
            seen += os.read(terminal, 1)
        status = process.wait(20)
        try:
            seen += os.read(terminal, 4096)
        finally:
            os.close(terminal)
        return status, seen.decode()

    status, shown = typed("s3cret", "other")
    assert status == 1
    assert "the two passwords differ" in shown
    assert not accounts.exists()
    status, shown = typed("s3cret", "s3cret")
    assert status == 0
    assert "s3cret" not in shown
    assert verify_password(load_accounts(accounts)["alice"].hash, "s3cret")


def test_addresses_and_limits(run: Any, accounts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("add", "alice", "--address", "Alice@example.org", "--password-stdin", data=b"one") == 0
    assert load_accounts(accounts)["alice"].addresses == ("alice@example.org",)
    assert load_accounts(accounts)["alice"].scram
    assert run("addresses", "alice", "alice@example.org", "@example.net") == 0
    assert load_accounts(accounts)["alice"].addresses == ("alice@example.org", "*@example.net")
    assert run("limits", "alice", "messages_per_hour=10", "sessions=0") == 0
    assert run("limits", "alice", "sessions=3") == 0
    assert load_accounts(accounts)["alice"].limits.given() == {"messages_per_hour": 10, "sessions": 3}
    capsys.readouterr()
    assert run("list") == 0
    assert "alice@example.org, *@example.net" in capsys.readouterr().out
    assert run("addresses", "alice", "--clear") == 0
    assert run("limits", "alice", "--clear") == 0
    account = load_accounts(accounts)["alice"]
    assert (account.addresses, account.limits.given()) == ((), {})


@pytest.mark.parametrize(
    "arguments",
    [
        ("addresses", "alice"),
        ("addresses", "alice", "nothing"),
        ("limits", "alice"),
        ("limits", "alice", "x=1"),
        ("limits", "alice", "sessions"),
        ("limits", "alice", "sessions=-1"),
        ("limits", "nobody", "sessions=1"),
        ("add", "bob", "--address", "nothing", "--generate"),
    ],
)
def test_addresses_and_limits_that_are_none(run: Any, accounts: Path, arguments: tuple[str, ...]) -> None:
    assert run("add", "alice", "--password-stdin", data=b"one") == 0
    before = accounts.read_bytes()
    assert run(*arguments) == 1
    assert accounts.read_bytes() == before
