# SPDX-License-Identifier: GPL-3.0-or-later
"""What the running agent says of itself, over a real control socket."""

import asyncio
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from relay_agent.cli.main import main
from relay_agent.control.protocol import FAILED, ControlError
from relay_agent.control.server import ControlServer

IDLE: dict[str, Any] = {
    "hostname": "relay.test",
    "version": "0.1.0",
    "pid": 7,
    "uptime": 5.0,
    "listeners": [{"address": "127.0.0.1", "port": 25, "tls": "none", "auth": "none"}],
    "sessions": 0,
    "counters": {},
    "queue": {"messages": 0, "recipients": 0, "held": 0, "bytes": 0},
    "delivery": {},
}


async def shown(config: Path, state: Mapping[str, Any] | Exception, *options: str) -> int:
    """The exit status of `relay-agent status` while an agent answers with `state`."""

    async def status(_: dict[str, Any]) -> Mapping[str, Any]:
        if isinstance(state, Exception):
            raise state
        return state

    server = ControlServer(config.parent / "control.sock", {"status": status})
    await server.start()
    try:
        return await asyncio.to_thread(main, ["status", "--config", str(config), *options])
    finally:
        await server.close()


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
        assert r"beta.test\x1b        3            1        in 12 s      busy\x07" in text
        assert "(5 more; --json shows all)" in text
        assert text.replace("\n", "").isprintable()
        assert await asyncio.to_thread(main, ["status", "--json", "--config", str(config)]) == 0
        assert json.loads(capsys.readouterr().out) == {"running": True, **state}
    finally:
        await server.close()


async def test_what_of_the_queue_is_not_open_is_told_with_the_rest(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    problem = "store 0 of the queue is open in no worker: /q/0/queue.db: the disk fails\x1b"
    assert await shown(config, {**IDLE, "unopened": [problem], "waiting": "the disk fails"}) == 1
    text = capsys.readouterr().out
    assert "queue, as far as it is open: 0 messages" in text
    assert problem.replace("\x1b", "\\x1b") in text
    assert "waits, and starts a worker once that has passed: the disk fails" in text


async def test_an_idle_agent_is_told_in_few_words(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert await shown(config, IDLE) == 0
    text = capsys.readouterr().out
    assert "127.0.0.1     25  none  none" in text
    assert "queue: 0 messages for 0 recipients, 0 B\nsessions: 0" in text
    for absent in ("held", "accounts", "since the start", "delivery now", "destination", "on average"):
        assert absent not in text


@pytest.mark.parametrize(
    ("days", "soon", "problem", "said"),
    [
        (60.5, False, "", "certificate: holds for 60 d 12 h\n"),
        (20.5, True, "", "certificate: holds for 20 d 12 h, until "),
        (-1, True, "", "mail programs refuse it"),
        (
            25,
            False,
            "down\x07",
            "certificate: holds for 25 d\n  renewal fails since 1970-01-01 00:00:05 UTC: down\\x07\n",
        ),
    ],
)
async def test_the_certificate(
    config: Path, capsys: pytest.CaptureFixture[str], days: float, soon: bool, problem: str, said: str
) -> None:
    certificate = {
        "expires": time.time() + days * 86400 + 5,
        "soon": soon,
        "renewal": {"problem": problem, "failing": 5.0, "looked": 5.0, "renewed": 5.0, "next_key_in": None},
    }
    assert await shown(config, IDLE | {"certificate": certificate}) == 0
    text = capsys.readouterr().out
    assert said in text
    assert ("renewal fails" in text) == bool(problem)


@pytest.mark.parametrize("counters", [{"accepted": 0, "commit_microseconds": 5}, {"commit_microseconds": 5}])
async def test_no_average_without_a_message(
    config: Path, capsys: pytest.CaptureFixture[str], counters: dict[str, int]
) -> None:
    assert await shown(config, IDLE | {"counters": counters}) == 0
    text = capsys.readouterr().out
    assert "on average" not in text
    assert "commit" not in text


async def test_how_much_a_destination_takes_now(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    slow = {
        "name": "slow.test:25",
        "waiting": 7,
        "active": 1,
        "idle": 0,
        "window": 4,
        "messages_per_minute": 12.5,
        "rate_wait": 3.0,
        "standing": "suspect",
        "blocked_for": 0.0,
        "last_error": "421 4.7.0 too fast",
    }
    free = slow | {"name": "free.test:25", "messages_per_minute": None, "standing": "good", "last_error": ""}
    assert await shown(config, IDLE | {"delivery": {"destinations": [slow, free]}}) == 0
    heads, first, second = capsys.readouterr().out.splitlines()[-3:]
    assert heads.split()[:4] == ["destination", "waiting", "connections", "rate"]
    assert first.split() == ["slow.test:25", "7", "1", "of", "4", "12.5/min", "421", "4.7.0", "too", "fast"]
    assert second.split() == ["free.test:25", "7", "1", "of", "4"]


async def test_a_destination_in_good_order_has_no_trouble(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = {"name": "beta.test", "waiting": 0, "active": 2, "blocked_for": 0.0, "last_error": None}
    assert await shown(config, IDLE | {"delivery": {"load": 0.12345, "destinations": [good]}}) == 0
    text = capsys.readouterr().out
    assert "  load: 0.123\n" in text
    assert text.rstrip().splitlines()[-1].split() == ["beta.test", "0", "2"]
    assert "more;" not in text


@pytest.mark.parametrize("options", [[], ["--json"]])
async def test_an_agent_that_cannot_tell_is_an_error(
    config: Path, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    assert await shown(config, ControlError(FAILED, "the disk\x1b[2J is gone"), *options) == 1
    captured = capsys.readouterr()
    assert "the disk" in captured.err
    assert "\x1b" not in captured.err
    assert captured.out == ""


async def test_what_waits_for_sites(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = IDLE | {"delivery": {"in_hand": 0, "destinations": [], "sites": {"site.test": 1, "other.test": 20}}}
    assert await shown(config, state) == 0
    text = capsys.readouterr().out
    assert "20 messages wait until the site of other.test calls in\n1 message waits until the site of site.test" in text


async def test_upstream_relays_and_port_25_in_words(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    upstreams = [
        {"name": "one.test:587", "user": "u", "state": "well", "troubled": 0},
        {
            "name": "two.test:587",
            "user": None,
            "state": "rests",
            "cause": "sign_in",
            "last_error": "535 no",
            "rests_for": 30.0,
            "troubled": 1,
        },
    ]
    look = {"state": "closed", "looked_at": 1.0, "instead": "one.test:587"}
    assert await shown(config, IDLE | {"delivery": {"upstreams": upstreams, "port25": look}}) == 0
    text = capsys.readouterr().out
    assert "port 25 to the outside: closed; mail for MX hosts goes through one.test:587" in text
    lines = text.splitlines()
    assert any(line.startswith("one.test:587") and "works" in line for line in lines)
    (trouble,) = [line for line in lines if line.startswith("two.test:587")]
    assert "tried last" in trouble
    assert "sign-in" in trouble
    assert "535 no" in trouble
    assert await shown(config, IDLE | {"delivery": {"port25": look | {"instead": None}}}) == 0
    assert "closed; mail for MX hosts waits" in capsys.readouterr().out
    assert await shown(config, IDLE | {"delivery": {"port25": look | {"state": "off"}}}) == 0
    assert "port 25" not in capsys.readouterr().out


async def test_what_block_lists_say(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def finding(name: str, listed: bool | None, **more: Any) -> dict[str, Any]:
        return {"list": name, "address": "192.0.2.1", "listed": listed, "since": None, "reason": "", **more}

    listings = [
        finding("a.test", True, since=1.7e9, reason="see \x1b[31mhttps://a.test"),
        finding("b.test", None, problem="timeout"),
        finding("c.test", False),
    ]
    state = {**IDLE, "suppressed": 2, "reputation": {"addresses": ["192.0.2.1"], "listings": listings}}
    assert await shown(config, state) == 0
    text = capsys.readouterr().out
    assert "suppressed: 2 recipients" in text
    assert "block lists: 1 of 3 answers say not listed" in text
    assert "192.0.2.1 on a.test: listed since 2023-11-14 22:13:20 UTC, see " in text
    assert "192.0.2.1 on b.test: no usable answer: timeout" in text
    assert "\x1b" not in text
    await shown(config, {**IDLE, "reputation": {"addresses": None, "listings": []}})
    assert "block lists: not asked yet" in capsys.readouterr().out
    await shown(config, {**IDLE, "reputation": {"addresses": [], "listings": []}})
    assert "set reputation.addresses" in capsys.readouterr().out


async def test_a_drained_host_says_so_in_place_of_its_ports(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    drained = {"since": 1764356400.0, "because": "new host\x1b"}
    assert await shown(config, {**IDLE, "listeners": [], "drained": drained}) == 0
    said = capsys.readouterr().out
    assert "drained since 2025-11-28" in said
    assert "takes no mail, carries on what is queued (new host\\x1b)" in said
    assert "listens on" not in said
