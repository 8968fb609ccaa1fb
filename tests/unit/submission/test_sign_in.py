# SPDX-License-Identifier: GPL-3.0-or-later
import base64

import pytest

from relay_agent.submission.sign_in import SignInError, read_login, read_plain


def b64(text: bytes) -> bytes:
    return base64.b64encode(text)


class Client:
    """Answers challenges in turn and remembers them."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)
        self.challenges: list[bytes] = []

    async def ask(self, challenge: bytes) -> bytes:
        self.challenges.append(challenge)
        return self.answers.pop(0)


async def test_plain_with_and_without_initial_response() -> None:
    client = Client(b64(b"\0alice\0s3cret"))
    assert await read_plain(b64(b"\0alice\0s3cret"), client.ask) == ("alice", b"s3cret")
    assert client.challenges == []
    assert await read_plain(None, client.ask) == ("alice", b"s3cret")
    assert client.challenges == [b""]
    assert await read_plain(b64(b"alice\0alice\0p"), client.ask) == ("alice", b"p")


async def test_login() -> None:
    client = Client(b64(b"alice"), b64(b"p\xc3\xa4ss"))
    assert await read_login(None, client.ask) == ("alice", b"p\xc3\xa4ss")
    assert client.challenges == [b"Username:", b"Password:"]
    client = Client(b64(b"p"))
    assert await read_login(b64(b"alice"), client.ask) == ("alice", b"p")


@pytest.mark.parametrize(
    ("response", "reply"),
    [
        (b"*", "501 5.7.0"),
        (b"!!!", "501 5.5.2"),
        (b"=", "501 5.5.2"),
        (b64(b"alice"), "501 5.5.2"),
        (b64(b"\0\0p"), "501 5.5.2"),
        (b64(b"\0\xff\0p"), "501 5.5.2"),
        (b64(b"\0a\0p\0q"), "501 5.5.2"),
        (b64(b"bob\0alice\0p"), "535 5.7.8"),
    ],
)
async def test_plain_refuses(response: bytes, reply: str) -> None:
    with pytest.raises(SignInError) as caught:
        await read_plain(response, Client().ask)
    assert str(caught.value).startswith(reply)
