# SPDX-License-Identifier: GPL-3.0-or-later
"""What can become of a recipient in one attempt, and how replies and errors are judged."""

from __future__ import annotations

import errno
import ssl
from dataclasses import dataclass
from enum import IntEnum, StrEnum

from relay_agent.delivery.reply import Reply, ReplyError, printable

__all__ = [
    "Cause",
    "Deferred",
    "Delivered",
    "Failed",
    "HostTrouble",
    "Outcome",
    "Scope",
    "UnresolvedError",
    "cause_of_reply",
    "judge",
    "judge_error",
]


class Scope(IntEnum):
    """What a deferral tells about the host that caused it."""

    RECIPIENT = 0  # the host is well; another one would say the same
    ELSEWHERE = 1  # the host does not take this now; another one of the same destination may
    HOST = 2  # the host takes nothing at all now


class Cause(StrEnum):
    """Where a host that takes nothing fails."""

    CONNECTION = "connection"  # no address, no connection, or it was lost
    TLS = "tls"
    SIGN_IN = "sign_in"
    THROTTLED = "throttled"  # we send it too much
    REFUSED = "refused"  # it takes nothing now, for whatever reason


@dataclass(slots=True, frozen=True)
class Delivered:
    """The other side has taken responsibility. relayed: but not for the notice of success that the sender asked
    for (RFC 3461 5.2.2): that one is ours to give."""

    status: str
    text: str
    host: str
    relayed: bool = False


@dataclass(slots=True, frozen=True)
class Deferred:
    """Not now. `again`: the rest of the recipients may follow at once in a further transaction.

    fault: nobody refused; something of our own went wrong (the code, the queue's disk).
    untried: it was no attempt; the mail waits for its site to call in. cause: of a host's trouble.
    hold: not until a person releases it.
    """

    status: str
    text: str
    host: str = ""
    scope: Scope = Scope.RECIPIENT
    again: bool = False
    fault: bool = False
    untried: bool = False
    cause: Cause | None = None
    hold: bool = False


@dataclass(slots=True, frozen=True)
class Failed:
    """Never: the sender is to be told. elsewhere: not by this host; another one of the same destination may."""

    status: str
    text: str
    host: str = ""
    elsewhere: bool = False


Outcome = Delivered | Deferred | Failed


class HostTrouble(Exception):
    """A host takes nothing now; `outcome` says why. Another host of the destination may do."""

    def __init__(self, outcome: Deferred) -> None:
        super().__init__(outcome.text)
        self.outcome = outcome


class UnresolvedError(Exception):
    """DNS gave no host to go to; `outcome` says whether for now or for good."""

    def __init__(self, outcome: Deferred | Failed) -> None:
        super().__init__(outcome.text)
        self.outcome = outcome


def _concerns_host(reply: Reply) -> Scope:
    """How far a 4xx reply reaches, by its enhanced code (RFC 3463 3): system, network and policy troubles
    (X.3, X.4, X.7: full disks, throttling, greylisting) may not trouble the next host; X.1, X.2 will."""
    if reply.code == 421:
        return Scope.HOST
    subject = (reply.enhanced or "").split(".")[1:2]
    if subject:
        return Scope.ELSEWHERE if subject[0] in ("3", "4", "7") else Scope.RECIPIENT
    return Scope.ELSEWHERE if reply.code == 451 else Scope.RECIPIENT


def cause_of_reply(reply: Reply) -> Cause:
    """What a 4xx means for the host that gave it: throttling is told by X.7 (450, 451 and 421 4.7.x)."""
    return Cause.THROTTLED if (reply.enhanced or "").startswith("4.7.") else Cause.REFUSED


#: What a code without an enhanced status stands for.
_STATUS = {
    421: "4.3.2",
    450: "4.2.0",
    451: "4.3.0",
    452: "4.3.1",
    454: "4.7.0",
    455: "4.5.4",
    500: "5.5.2",
    501: "5.5.4",
    502: "5.5.1",
    503: "5.5.1",
    504: "5.5.4",
    530: "5.7.0",
    535: "5.7.8",
    550: "5.1.1",
    551: "5.1.6",
    552: "5.2.2",
    553: "5.1.3",
    555: "5.5.4",
}


def judge(reply: Reply, host: str, *, about_recipient: bool = False) -> Outcome:
    """The outcome that a reply to MAIL, RCPT or the end of data stands for.

    about_recipient: it answered RCPT, so a bare 550 means the mailbox. A reply that no stage allows (3xx) is a
    deferral: the server is confused, the recipient is not to blame.
    """
    kind = reply.code // 100
    if kind == 2:
        return Delivered(reply.enhanced or "2.0.0", reply.text, host)
    if kind == 5:
        plain = _STATUS.get(reply.code, "5.0.0") if about_recipient or reply.code < 550 else "5.0.0"
        return Failed(reply.enhanced or plain, reply.text, host)
    if kind == 4:
        status = reply.enhanced or _STATUS.get(reply.code, "4.0.0")
        return Deferred(status, reply.text, host, _concerns_host(reply), cause=cause_of_reply(reply))
    return Deferred("4.5.0", f"unexpected reply: {reply.text}", host, Scope.ELSEWHERE)


_ERRNO_WORDS = {
    errno.ECONNREFUSED: ("4.4.1", "connection refused"),
    errno.EHOSTUNREACH: ("4.4.1", "no route to host"),
    errno.ENETUNREACH: ("4.4.1", "network is unreachable"),
    errno.ETIMEDOUT: ("4.4.1", "connection timed out"),
    errno.ECONNRESET: ("4.4.2", "connection reset by the other side"),
    errno.EPIPE: ("4.4.2", "connection closed by the other side"),
    errno.EMFILE: ("4.3.0", "too many open files here"),
    errno.ENFILE: ("4.3.0", "too many open files here"),
}


def judge_error(error: BaseException, host: str, doing: str) -> Deferred:
    """The deferral that an exception while talking to a host stands for.

    doing: what we were at, as in ``while connecting``; it becomes part of the text.
    """
    if isinstance(error, HostTrouble):
        return error.outcome
    status, cause = "4.4.2", Cause.TLS if isinstance(error, ssl.SSLError) else Cause.CONNECTION
    if isinstance(error, ssl.SSLCertVerificationError):
        status, words = "4.7.5", f"certificate not accepted: {error.verify_message}"
    elif isinstance(error, ssl.SSLError):
        status, words = "4.7.5", f"TLS failed: {getattr(error, 'reason', None) or error}"
    elif isinstance(error, TimeoutError) and not error.errno:
        status, words = ("4.4.1" if doing == "while connecting" else "4.4.2"), "timed out"
    elif isinstance(error, ReplyError):
        status, words, cause = "4.5.0", f"the server {error}", Cause.REFUSED
    elif isinstance(error, OSError) and error.errno in _ERRNO_WORDS:
        status, words = _ERRNO_WORDS[error.errno]
    elif isinstance(error, EOFError):
        words = "connection closed by the other side"
    else:
        words = str(error) or type(error).__name__
    return Deferred(status, printable(f"{words} {doing}"), host, Scope.HOST, cause=cause)
