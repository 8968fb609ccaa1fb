# SPDX-License-Identifier: GPL-3.0-or-later
"""How replies and errors are judged."""

from __future__ import annotations

import errno
import ssl

import pytest

from relay_agent.delivery.outcome import Cause, Deferred, Delivered, Failed, Scope, cause_of_reply, judge, judge_error
from relay_agent.delivery.reply import Reply, ReplyError


def test_delivered() -> None:
    assert judge(Reply(250, ("2.6.0 taken as 1234",)), "mx") == Delivered("2.6.0", "250 2.6.0 taken as 1234", "mx")


@pytest.mark.parametrize(
    ("code", "text", "about_recipient", "status"),
    [
        (550, "5.7.26 unauthenticated", False, "5.7.26"),
        (550, "no such user", True, "5.1.1"),
        (550, "refused", False, "5.0.0"),
        (554, "refused", True, "5.0.0"),
        (552, "full", True, "5.2.2"),
        (503, "bad sequence", False, "5.5.1"),
    ],
)
def test_failed(code: int, text: str, about_recipient: bool, status: str) -> None:
    outcome = judge(Reply(code, (text,)), "mx", about_recipient=about_recipient)
    assert isinstance(outcome, Failed)
    assert outcome.status == status


@pytest.mark.parametrize(
    ("code", "text", "status", "scope"),
    [
        (421, "4.7.0 too many connections", "4.7.0", Scope.HOST),
        (421, "closing", "4.3.2", Scope.HOST),
        (450, "4.2.0 greylisted", "4.2.0", Scope.RECIPIENT),
        (450, "mailbox busy", "4.2.0", Scope.RECIPIENT),
        (451, "4.7.1 try later", "4.7.1", Scope.ELSEWHERE),
        (451, "local error", "4.3.0", Scope.ELSEWHERE),
        (452, "4.3.1 disk full", "4.3.1", Scope.ELSEWHERE),
        (452, "4.2.2 over quota", "4.2.2", Scope.RECIPIENT),
    ],
)
def test_deferred(code: int, text: str, status: str, scope: Scope) -> None:
    outcome = judge(Reply(code, (text,)), "mx")
    assert isinstance(outcome, Deferred)
    assert (outcome.status, outcome.scope) == (status, scope)


@pytest.mark.parametrize(
    ("code", "text", "cause"),
    [
        (421, "4.7.0 too many connections", Cause.THROTTLED),
        (450, "4.7.1 slow down", Cause.THROTTLED),
        (451, "4.7.1 slow down", Cause.THROTTLED),
        (421, "4.3.2 shutting down", Cause.REFUSED),
        (421, "closing", Cause.REFUSED),  # for whatever reason: RFC 5321 4.2.2 has it for a shutdown
        (451, "local error", Cause.REFUSED),
    ],
)
def test_throttling_is_told_by_its_status(code: int, text: str, cause: Cause) -> None:
    assert cause_of_reply(Reply(code, (text,))) is cause


def test_a_reply_out_of_place_is_not_the_recipients_fault() -> None:
    assert isinstance(judge(Reply(354, ("go on",)), "mx"), Deferred)


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "x"), "4.4.1", "connection refused while connecting"),
        (OSError(errno.ENETUNREACH, "x"), "4.4.1", "network is unreachable while connecting"),
        (TimeoutError(), "4.4.1", "timed out while connecting"),
        (ConnectionResetError(errno.ECONNRESET, "x"), "4.4.2", "connection reset by the other side while connecting"),
        (EOFError(), "4.4.2", "connection closed by the other side while connecting"),
        (ReplyError("does not speak SMTP: hello"), "4.5.0", "the server does not speak SMTP: hello while connecting"),
        (ssl.SSLError(1, "[SSL] whatever"), "4.7.5", "TLS failed: "),
    ],
)
def test_errors(error: BaseException, status: str, words: str) -> None:
    outcome = judge_error(error, "mx", "while connecting")
    assert outcome.status == status
    assert outcome.text.startswith(words)
    assert outcome.scope is Scope.HOST
