# SPDX-License-Identifier: GPL-3.0-or-later
import asyncio
import contextlib
import http.client
from collections.abc import AsyncIterator
from typing import Any

import pytest

from relay_agent.observability.endpoint import Endpoint, Page, listen


@contextlib.asynccontextmanager
async def serving(**limits: Any) -> AsyncIterator[int]:
    async def numbers(accept: str) -> Page:
        return Page(f"accept={accept}\n", "text/x-numbers")

    async def broken(_: str) -> Page:
        raise LookupError("secret")

    async def slow(_: str) -> Page:
        await asyncio.sleep(60)
        return Page("")

    async def large(_: str) -> Page:
        return Page("x" * 50_000_000)

    listening = listen("127.0.0.1", 0)
    pages = {"/numbers": numbers, "/broken": broken, "/slow": slow, "/large": large}
    endpoint = Endpoint(listening, pages, **limits)
    await endpoint.start()
    try:
        yield listening.getsockname()[1]
    finally:
        await endpoint.close()


async def exchange(port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        async with asyncio.timeout(10):
            return await reader.read()
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def status(port: int, request: bytes) -> int:
    return int((await exchange(port, request)).split(b" ")[1])


async def test_a_page_over_a_common_client() -> None:
    async with serving() as port:

        def get(method: str) -> tuple[int, str | None, bytes]:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            connection.request(method, "/numbers?x=1", headers={"Accept": "a/b"})
            answer = connection.getresponse()
            found = (answer.status, answer.getheader("Content-Type"), answer.read())
            assert answer.getheader("Content-Length") == "11"
            connection.close()
            return found

        assert await asyncio.to_thread(get, "GET") == (200, "text/x-numbers", b"accept=a/b\n")
        assert await asyncio.to_thread(get, "HEAD") == (200, "text/x-numbers", b"")


@pytest.mark.parametrize(
    ("request_line", "expected"),
    [
        (b"GET /elsewhere HTTP/1.1", 404),
        (b"GET /../etc/passwd HTTP/1.0", 404),
        (b"POST /numbers HTTP/1.1", 405),
        (b"get /numbers HTTP/1.1", 405),
        (b"CONNECT smtp.example.org:25 HTTP/1.1", 405),
        (b"GET /numbers HTTP/2.0", 400),
        (b"GET /numbers", 400),
        (b"GET  /numbers HTTP/1.1", 400),
        (b"", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00", 400),
        (b"\xff\xfe\x00", 400),
        (b"GET /broken HTTP/1.1", 500),
    ],
)
async def test_everything_else_is_refused(request_line: bytes, expected: int) -> None:
    async with serving() as port:
        answer = await exchange(port, request_line + b"\r\nHost: x\r\n\r\n")
        assert int(answer.split(b" ")[1]) == expected
        assert b"secret" not in answer
        assert (b"Allow: GET, HEAD" in answer) == (expected == 405)
        assert await status(port, b"GET /numbers HTTP/1.1\r\n\r\n") == 200


async def test_a_head_that_does_not_end_is_cut_off() -> None:
    async with serving(request_within=0.2) as port:
        assert await status(port, b"GET /numbers HTTP/1.1\r\nX: " + b"a" * 9000) == 431
        assert await status(port, b"GET /numbers HTTP/1.1\r\n" + b"A: b\r\n" * 5000) == 431
        assert await status(port, b"GET /numbers HTTP/1.1\r\nHost: x\r\n") == 408


async def test_a_second_request_on_the_connection_is_not_read() -> None:
    async with serving() as port:
        answer = await exchange(port, b"GET /numbers HTTP/1.1\r\n\r\n" * 2)
        assert answer.count(b"HTTP/1.1 200") == 1
        assert b"\r\nConnection: close\r\n" in answer


async def test_the_next_connection_is_served_while_others_dawdle_up_to_a_limit() -> None:
    async with serving(most_connections=3, request_within=1.0) as port:
        idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        await asyncio.sleep(0.05)
        assert await status(port, b"GET /numbers HTTP/1.1\r\n\r\n") == 200
        idle.append(await asyncio.open_connection("127.0.0.1", port))
        await asyncio.sleep(0.05)
        with contextlib.suppress(ConnectionError):
            assert await exchange(port, b"GET /numbers HTTP/1.1\r\n\r\n") == b""
        for reader, writer in idle:
            await reader.read()  # 408
            writer.close()
        await asyncio.sleep(0.05)
        assert await status(port, b"GET /numbers HTTP/1.1\r\n\r\n") == 200


async def test_a_page_that_takes_too_long_and_a_client_that_does_not_read() -> None:
    async with serving(answer_within=0.3) as port:
        assert await exchange(port, b"GET /slow HTTP/1.1\r\n\r\n") == b""
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /large HTTP/1.1\r\n\r\n")
        await asyncio.sleep(1.0)
        writer.close()
        assert await status(port, b"GET /numbers HTTP/1.1\r\n\r\n") == 200


async def test_a_kept_socket_serves_who_connects_in_between() -> None:
    async def one(_: str) -> Page:
        return Page("one")

    listening = listen("127.0.0.1", 0)
    first = Endpoint(listening, {"/": one})
    await first.start()
    kept = await first.close(keep=True)
    assert kept is not None
    asking = asyncio.ensure_future(exchange(kept.getsockname()[1], b"GET / HTTP/1.1\r\n\r\n"))
    await asyncio.sleep(0.05)
    second = Endpoint(kept, {"/": one})
    await second.start()
    assert (await asking).endswith(b"\r\n\r\none")
    assert await second.close() is None


def test_an_address_that_is_taken() -> None:
    with listen("127.0.0.1", 0) as listening, pytest.raises(OSError, match="in use"):
        listen("127.0.0.1", listening.getsockname()[1])
