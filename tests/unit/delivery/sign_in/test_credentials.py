# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the secrets of a hop lie, and reading them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from relay_agent.config.schema import Hop
from relay_agent.delivery.outcome import Cause, HostTrouble
from relay_agent.delivery.sign_in.credentials import credentials_of, first_line


def test_nothing_to_sign_in_with() -> None:
    assert credentials_of(Hop(host="a.test")) is None


def test_a_password_and_a_forced_mechanism() -> None:
    found = credentials_of(Hop(host="a.test", username="u", password_file=Path("/p"), auth="login"))
    assert found is not None
    assert (found.username, found.password_file, found.mechanism, found.tokens) == ("u", Path("/p"), "LOGIN", None)


def test_tokens() -> None:
    hop = Hop(
        host="a.test",
        username="u",
        token_url="https://id.test:8443/token",
        client_id="c",
        refresh_token_file=Path("/r"),
    )
    found = credentials_of(hop)
    assert found is not None
    assert found.tokens is not None
    assert found.tokens.label == "id.test:8443"
    command = credentials_of(Hop(host="a.test", username="u", token_command=("/bin/x", "y")))
    assert command is not None
    assert command.tokens is not None
    assert command.tokens.label == "/bin/x"


async def test_the_first_line_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "password"
    await asyncio.to_thread(path.write_bytes, "p\u00e4ss wort \r\nnotes\n".encode())
    assert await first_line(path, "password") == "p\u00e4ss wort "


@pytest.mark.parametrize("content", [b"", b"\nx", b"a\0b", b"\xff"])
async def test_files_without_one(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "password"
    await asyncio.to_thread(path.write_bytes, content)
    with pytest.raises(HostTrouble, match="password file") as caught:
        await first_line(path, "password")
    assert caught.value.outcome.cause is Cause.SIGN_IN
