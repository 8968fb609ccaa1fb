# SPDX-License-Identifier: GPL-3.0-or-later
"""The dialogue of a session, held with answers from a list."""

from __future__ import annotations

import base64
from dataclasses import replace

import pytest

from benchmarks.load.dialogue import HOLD, START_TLS, WAIT, Dialogue, RefusedError, ReplyReader, Script, Step
from benchmarks.load.plan import Plan

PLAN = Plan(port=1, size=256)


class Work:
    """Jobs from a list of what `take` says."""

    def __init__(self, *answers: bool | None) -> None:
        self.answers = list(answers)
        self.began: list[float] = []

    def take(self) -> bool | None:
        return self.answers.pop(0)

    def done(self, began: float) -> None:
        self.began.append(began)


def ticking() -> float:
    return 7.0


def talk(dialogue: Dialogue, *answers: bytes) -> list[Step]:
    """The steps of a dialogue when it hears these replies; START_TLS and WAIT need none."""
    steps = [next(dialogue)]
    heard = list(answers)
    try:
        while True:
            count = max(0, steps[-1][1])
            replies, heard = heard[:count], heard[count:]
            steps.append(dialogue.send(replies))
    except StopIteration:
        assert heard == [b"221 bye"] or not heard
    return steps


def test_a_connection_for_a_message() -> None:
    work = Work()
    steps = talk(
        Script(PLAN, ticking).sending(work),
        *[b"220 hi", b"250 relay", b"250 ok", b"250 ok", b"354 go", b"250 queued", b"221 bye"],
    )
    sent = [data for data, _ in steps]
    assert sent[:5] == [
        b"",
        b"EHLO load.bench.test\r\n",
        b"MAIL FROM:<alice@alpha.test>\r\n",
        b"RCPT TO:<sink@bench.test>\r\n",
        b"DATA\r\n",
    ]
    assert sent[5].endswith(b"\r\n.\r\n")
    assert sent[6] == b"QUIT\r\n"
    assert work.began == [7.0]


def test_starttls_and_sign_in() -> None:
    plan = replace(PLAN, tls="starttls", user="alice", password="s3cret")
    steps = talk(
        Script(plan, ticking).sending(Work()),
        *[b"220 hi", b"250 relay", b"220 go", b"250 relay", b"235 in"],
        *[b"250 ok", b"250 ok", b"354 go", b"250 queued", b"221 bye"],
    )
    assert steps[2][0] == b"STARTTLS\r\n"
    assert steps[3] is START_TLS
    verb, _, credentials = steps[5][0].rpartition(b" ")
    assert verb == b"AUTH PLAIN"
    assert base64.b64decode(credentials) == b"\0alice\0s3cret"


def test_implicit_tls_before_the_greeting() -> None:
    assert next(Script(replace(PLAN, tls="implicit"), ticking).sending(Work())) is START_TLS


def test_kept_and_pipelined_waits_for_more_and_ends() -> None:
    plan = replace(PLAN, kept=True, pipelined=True)
    group = [b"250 ok", b"250 ok", b"354 go", b"250 queued"]
    work = Work(True, None, False)
    steps = talk(Script(plan, ticking).sending(work), b"220 hi", b"250 relay", *group, *group, *group, b"221 bye")
    assert [count for _, count in steps] == [1, 1, 3, 1, 3, 1, WAIT[1], 3, 1, 1]
    assert steps[2][0].count(b"\r\n") == 3
    assert len(work.began) == 3


def test_holding_ends_in_silence() -> None:
    dialogue = Script(PLAN, ticking).holding()
    next(dialogue)
    dialogue.send([b"220 hi"])
    assert dialogue.send([b"250 relay"]) is HOLD


@pytest.mark.parametrize(
    ("replies", "stage"),
    [
        ([b"421 full"], "greeting"),
        ([b"220 hi", b"502 no"], "EHLO"),
        ([b"220 hi", b"250 relay", b"530 sign in"], "MAIL"),
    ],
)
def test_a_refusal_names_its_stage(replies: list[bytes], stage: str) -> None:
    with pytest.raises(RefusedError) as caught:
        talk(Script(PLAN, ticking).sending(Work()), *replies)
    assert caught.value.stage == stage


def test_replies_in_pieces() -> None:
    whole = b"250-relay\r\n250-SIZE\r\n250 AUTH PLAIN\r\n354 go\r\n"
    for cut in range(len(whole) + 1):
        reader = ReplyReader()
        found = reader.feed(whole[:cut]) + reader.feed(whole[cut:])
        assert [reply.strip() for reply in found] == [b"250 AUTH PLAIN", b"354 go"]


def test_a_line_without_end_is_refused() -> None:
    reader = ReplyReader()
    with pytest.raises(RefusedError):
        reader.feed(b"250 " + b"x" * 70_000)
