# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from relay_agent.config.schema import Dkim
from relay_agent.dkim.keys import Algorithm, Key, KeyState, render_key
from relay_agent.dkim.places import DkimError
from relay_agent.dkim.signer import Signer, keys_by_domain
from relay_agent.observability.log import EventLog
from relay_agent.queue.body import FileBody, MemoryBody, Spool

from .oracle import NOW, both, key, verified


class Events(EventLog):
    def __init__(self) -> None:
        self.seen: list[tuple[str, dict[str, Any]]] = []

    def event(self, name: str, *, level: str = "info", **fields: object) -> None:
        self.seen.append((name, fields))


def put(directory: Path, *keys: Key) -> None:
    for one in keys:
        (directory / one.domain).mkdir(parents=True, exist_ok=True)
        (directory / one.domain / f"{one.selector}.pem").write_bytes(render_key(one))


def signer(directory: Path, *keys: Key, **options: Any) -> tuple[Signer, Events]:
    put(directory, *keys)
    events = Events()
    made = Signer(Dkim(directory=directory, **options), events)
    made.reload()
    return made, events


def message(sender: str = "Alice <alice@alpha.test>", body: bytes = b"hello\r\n") -> bytes:
    return f"Received: by relay.test\r\n\tid x\r\nFrom: {sender}\r\nSubject: x\r\n\r\n".encode() + body


async def test_without_keys_content_goes_on_as_it_is(tmp_path: Path) -> None:
    idle, _ = signer(tmp_path / "none")
    assert not idle.active
    body = MemoryBody(message())
    assert await idle.signed(body, "id") is body


async def test_signed_by_every_kind_of_key(tmp_path: Path) -> None:
    made, events = signer(tmp_path, *both())
    assert made.active
    body = await made.signed(MemoryBody(message()), "id")
    assert body.read().endswith(message())
    assert body.size == len(body.read())
    assert verified(body.read(), both()) == [True, True]
    assert (made.counts, events.seen) == ({"signed": 1}, [])


@pytest.mark.parametrize("size", [70_000, 3_000_000])
async def test_a_file_is_signed_without_being_written_anew(tmp_path: Path, size: int) -> None:
    made, _ = signer(tmp_path / "keys", *both())
    whole = message(body=b"0123456 \t 789\r\n" * (size // 15) + b"\r\n\r\n")
    with Spool(tmp_path, minimum_free=0, threshold=1000) as spool:
        spool.write(whole)
        body = spool.finish()
    assert isinstance(body, FileBody)
    before = body.path.read_bytes()
    assert await made.signed(body, "id") is body
    assert body.path.read_bytes() == before
    assert body.size == len(body.read())
    assert body.read().endswith(whole)
    assert verified(body.read(), both()) == [True, True]


async def test_a_file_that_is_gone_is_an_error(tmp_path: Path) -> None:
    made, _ = signer(tmp_path / "keys", key())
    with pytest.raises(OSError, match="No such file"):
        await made.signed(FileBody(tmp_path / "gone", 1000), "id")


@pytest.mark.parametrize(
    ("sender", "domain"),
    [
        ("alice@alpha.test", "alpha.test"),
        ("alice@ALPHA.test", "alpha.test"),
        ("a@mail.alpha.test", "alpha.test"),
        ("a@own.alpha.test", "own.alpha.test"),
        ("a@x.own.alpha.test", "own.alpha.test"),
        ("=?utf-8?q?x?= <a@alpha.test>, b@beta.test", "alpha.test"),
        ("ä <a@bücher.test>", "xn--bcher-kva.test"),
        ("beta@alpha.test <a@beta.test>", None),
        ("a@beta.test", None),
        ("a@xalpha.test", None),
        ("a@test", None),
        ("a@[192.0.2.1]", None),
        ("undisclosed:;", None),
    ],
)
async def test_whose_keys_sign(tmp_path: Path, sender: str, domain: str | None) -> None:
    keys = [key(domain=each) for each in ("alpha.test", "own.alpha.test", "xn--bcher-kva.test")]
    made, events = signer(tmp_path, *keys)
    content = (await made.signed(MemoryBody(message(sender)), "id")).read()
    assert events.seen == []
    if domain is None:
        assert content == message(sender)
    else:
        assert f"\r\n\td={domain};\r\n".encode() in content
        assert verified(content, keys) == [True]


async def test_subdomains_and_domains_are_the_configuration_s_choice(tmp_path: Path) -> None:
    put(tmp_path, key(), key(domain="beta.test"))
    made, _ = signer(tmp_path, subdomains=False, domains=["ALPHA.test"])
    assert made.keys_for("alpha.test")
    assert not made.keys_for("mail.alpha.test")
    assert not made.keys_for("beta.test")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"Subject: x\r\n\r\nbody\r\n", "0 From lines"),
        (b"From: a@alpha.test\r\nFrom: b@beta.test\r\n\r\n", "2 From lines"),
        (b"From: <a@alpha.test> b@beta.test\r\n\r\n", "exactly one way"),
        (b"From: \xff@alpha.test\r\n\r\n", "exactly one way"),
        (b"From: a@alpha.test\r\n" + b"To: x\r\n" * 300 + b"\r\n", "at most 200"),
        (b"\r\nbody only\r\n", "0 From lines"),
        (b"", "0 From lines"),
        (b"From a line that is no field\r\n\r\n", "no field"),
    ],
)
async def test_what_cannot_be_signed_goes_on_and_is_told(tmp_path: Path, content: bytes, why: str) -> None:
    made, events = signer(tmp_path, key())
    assert (await made.signed(MemoryBody(content), "id")).read() == content
    ((name, fields),) = events.seen
    assert (name, fields["queue_id"]) == ("not_signed", "id")
    assert why in fields["reason"]
    assert made.counts == {"unsigned": 1}


async def test_a_message_that_is_all_header(tmp_path: Path) -> None:
    made, _ = signer(tmp_path, key())
    content = (await made.signed(MemoryBody(b"From: a@alpha.test\r\n"), "id")).read()
    assert verified(content + b"\r\n", [key()]) == [True]


async def test_an_expiry(tmp_path: Path) -> None:
    made, _ = signer(tmp_path, key(), expire_after=1_100_000)
    content = (await made.signed(MemoryBody(message()), "id")).read()
    times = dict(part.strip().split(b"=") for part in content.split(b";") if part.strip()[:2] in (b"t=", b"x="))
    assert int(times[b"x"]) - int(times[b"t"]) == 1_100_000


async def test_reload_takes_keys_up_and_a_bad_one_changes_nothing(tmp_path: Path) -> None:
    made, _ = signer(tmp_path)
    put(tmp_path, key())
    made.reload()
    assert made.keys_for("alpha.test")
    (tmp_path / "alpha.test/bad.pem").write_text("nothing")
    with pytest.raises(DkimError):
        made.reload()
    assert made.keys_for("alpha.test")
    (tmp_path / "alpha.test/bad.pem").unlink()
    (tmp_path / "alpha.test/ed25519.pem").unlink()
    made.reload()
    assert not made.active


def test_which_of_several_keys_signs() -> None:
    old = replace(key(selector="old"), since=NOW)
    new = replace(key(selector="new"), since=NOW + timedelta(days=1))
    pending = replace(key(selector="next", state=KeyState.PENDING), since=NOW + timedelta(days=2))
    retired = replace(key(selector="past", state=KeyState.RETIRED), since=NOW + timedelta(days=2))
    rsa = key(Algorithm.RSA)

    def chosen(*keys: Key) -> list[str]:
        return [each.selector for each in keys_by_domain(keys, Dkim()).get("alpha.test", ())]

    assert chosen(old, new, pending, retired, rsa) == ["rsa", "new"]
    assert chosen(new, old) == ["new"]
    assert chosen(pending, retired) == []
    assert chosen(replace(old, given=True, selector="given", since=None), new) == ["given"]
