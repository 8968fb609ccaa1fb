# SPDX-License-Identifier: GPL-3.0-or-later
import asyncio
import json
import os
import select
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from relay_agent.control.client import AgentNotRunningError, ControlClient
from relay_agent.control.protocol import BAD_REQUEST, FAILED, UNKNOWN_COMMAND, ControlError
from relay_agent.control.server import ControlServer


async def echo(arguments: dict[str, Any]) -> Any:
    return arguments


async def numbers(arguments: dict[str, Any]) -> AsyncIterator[int]:
    async def items() -> AsyncIterator[int]:
        for number in range(arguments["count"]):
            yield number

    return items()


async def broken(arguments: dict[str, Any]) -> Any:
    raise RuntimeError("no luck")


async def forever(arguments: dict[str, Any]) -> Any:
    await asyncio.Event().wait()


HANDLERS = {"echo": echo, "numbers": numbers, "broken": broken, "forever": forever}


@pytest.fixture
async def path(tmp_path: Path) -> AsyncIterator[Path]:
    path = tmp_path / "control.sock"
    server = ControlServer(path, HANDLERS, request_timeout=0.5, write_timeout=0.5, max_connections=4)
    await server.start()
    yield path
    await server.close()
    assert not path.exists()


async def call(path: Path, command: str, **arguments: Any) -> Any:
    return await asyncio.to_thread(ControlClient(path, timeout=30).call, command, **arguments)


async def exchange(path: Path, data: bytes) -> list[Any]:
    """Send bytes as they are; the lines that come back."""
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(data)
    try:
        lines = (await asyncio.wait_for(reader.read(), 30)).splitlines()
    except ConnectionResetError:
        lines = []
    writer.close()
    return [json.loads(line) for line in lines]


def hung_up(client: socket.socket) -> bool:
    """Whether, within half a minute, the other side has closed the connection; nothing is read."""
    watch = select.poll()
    watch.register(client, 0)  # a hang-up is told of in any case
    return bool(watch.poll(30_000))


async def test_an_answer(path: Path) -> None:
    assert await call(path, "echo", text="schön \x00\n", number=3) == {"text": "schön \x00\n", "number": 3}
    assert (await asyncio.to_thread(path.stat)).st_mode & 0o777 == 0o660


async def test_a_long_answer_comes_item_by_item(path: Path) -> None:
    client = ControlClient(path, timeout=30)
    items = await asyncio.to_thread(lambda: list(client.stream("numbers", count=20_000)))
    assert items == list(range(20_000))


async def test_a_handler_that_fails_is_told_and_the_next_one_works(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ControlError, match="no luck") as caught:
        await call(path, "broken")
    assert caught.value.code == FAILED
    assert "RuntimeError: no luck" in caplog.text
    assert await call(path, "echo") == {}


async def test_an_unknown_command_is_told_which_there_are(path: Path) -> None:
    with pytest.raises(
        ControlError, match=r"'\\x1b\[2J' is not a command of this agent \(known: broken, echo"
    ) as caught:
        await call(path, "\x1b[2J")
    assert caught.value.code == UNKNOWN_COMMAND


@pytest.mark.parametrize(
    "data",
    [
        b"\n",
        b"GET / HTTP/1.1\r\n",
        b"\x16\x03\x01\x02\x00\n",
        b"\xff\xfe\x00\n",
        b"{}\n",
        b"[]\n",
        b"null\n",
        b'{"command": 5}\n',
        b'{"command": "echo", "arguments": []}\n',
        b'{"command": "echo", "arguments": null}\n',
        b"[" * 60_000 + b"\n",
        b"9" * 60_000 + b"\n",
        b"x" * 200_000,
    ],
)
async def test_garbage_is_refused(path: Path, data: bytes) -> None:
    answers = await exchange(path, data)
    if len(data) < 65_536:
        assert [answer["error"]["code"] for answer in answers] == [BAD_REQUEST]
    assert await call(path, "echo") == {}


async def test_a_client_that_says_nothing_is_sent_away(path: Path) -> None:
    answers = await exchange(path, b'{"command"')
    assert "no request within" in answers[0]["error"]["message"]


async def test_a_client_that_never_reads_does_not_stay(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.connect(str(path))
        silent.sendall(b'{"command": "numbers", "arguments": {"count": 10000000}}\n')
        # Not sooner, or it would have read after all.
        assert await asyncio.to_thread(hung_up, silent)
        assert await call(path, "echo") == {}
        silent.settimeout(30)
        received = await asyncio.to_thread(lambda: sum(len(part) for part in iter(lambda: silent.recv(65536), b"")))
    assert received < 5_000_000


async def test_too_many_at_once_are_told(path: Path) -> None:
    waiting = [await asyncio.open_unix_connection(path) for _ in range(4)]
    for _, writer in waiting:
        writer.write(b'{"command": "forever"}\n')
    await asyncio.sleep(0.1)
    try:
        for _ in range(20):
            with pytest.raises(ControlError, match="too many"):
                await call(path, "echo")
    finally:
        for _, writer in waiting:
            writer.close()
            await writer.wait_closed()


async def test_a_client_that_goes_away_is_no_trouble(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(10):
        _, writer = await asyncio.open_unix_connection(path)
        writer.write(b'{"command": "numbers", "arguments": {"count": 100000}}\n')
        writer.transport.abort()
    await asyncio.sleep(0.2)
    assert await call(path, "echo") == {}
    assert not caplog.records


async def test_closing_does_not_wait_for_a_long_command(tmp_path: Path) -> None:
    server = ControlServer(tmp_path / "s", HANDLERS)
    await server.start()
    waiting = asyncio.create_task(call(tmp_path / "s", "forever"))
    await asyncio.sleep(0.1)
    async with asyncio.timeout(20):
        await server.close()
    with pytest.raises(ControlError, match="closed the connection"):
        await waiting


async def test_closing_does_not_wait_for_a_client_that_never_reads(tmp_path: Path) -> None:
    server = ControlServer(tmp_path / "s", HANDLERS)
    await server.start()
    with socket.socket(socket.AF_UNIX) as silent:
        silent.connect(str(tmp_path / "s"))
        silent.sendall(b'{"command": "numbers", "arguments": {"count": 10000000}}\n')
        await asyncio.sleep(0.5)  # by then the answer fills all buffers
        async with asyncio.timeout(20):
            await server.close()
        assert await asyncio.to_thread(hung_up, silent)


async def test_the_socket_of_a_dead_agent_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with pytest.raises(AgentNotRunningError):
        await call(path, "echo")
    server = ControlServer(path, HANDLERS)
    await server.start()
    assert await call(path, "echo") == {}
    await server.close()


async def test_two_agents_do_not_share_a_socket(path: Path) -> None:
    with pytest.raises(OSError, match="another agent"):
        await ControlServer(path, HANDLERS).start()
    assert await call(path, "echo") == {}


async def test_a_file_in_the_way_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    path.write_text("precious")
    with pytest.raises(FileExistsError, match="not a socket"):
        await ControlServer(path, HANDLERS).start()
    assert path.read_text() == "precious"


async def test_a_path_that_is_too_long_is_told(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="107 bytes"):
        await ControlServer(tmp_path / ("x" * 120), HANDLERS).start()
    with pytest.raises(ControlError, match="too long"):
        await call(tmp_path / ("x" * 120), "echo")


async def test_a_directory_that_is_missing_is_told(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="run"):
        await ControlServer(tmp_path / "run" / "s", HANDLERS).start()


async def test_another_agents_socket_is_left_alone_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    server = ControlServer(path, HANDLERS)
    await server.start()
    path.unlink()
    path.write_text("another")
    await server.close()
    assert path.read_text() == "another"


@pytest.mark.parametrize("answer", [b"hello\n", b"[]\n", b'{"error": 5}\n', b"", b'{"item": 1}\n'])
async def test_an_answer_that_is_not_the_agents_is_told(tmp_path: Path, answer: bytes) -> None:
    async def other(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(answer)
        writer.close()

    server = await asyncio.start_unix_server(other, tmp_path / "s")
    with pytest.raises(ControlError, match=r"not the agent's|closed the connection"):
        await call(tmp_path / "s", "echo")
    server.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to become another user")
async def test_a_user_who_may_not_is_told(path: Path) -> None:
    os.seteuid(65534)
    try:
        with pytest.raises(PermissionError, match="only by root"):
            ControlClient(path).call("echo")
    finally:
        os.seteuid(0)
