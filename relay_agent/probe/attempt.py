# SPDX-License-Identifier: GPL-3.0-or-later
"""One try of one port: connect, and speak as a mail program does, up to the point where it would sign in.

Nothing here decides what it means; see `verdict`. Blocks; each try has a deadline. Standard library only, as `tries`,
`wire` and `vantage`: they are sent to hosts that have Python and nothing of ours.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import ssl
import time
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

__all__ = ["Attempt", "End", "Family", "Mode", "Presented", "Shown", "Target", "attempt"]

Family = Literal["ipv4", "ipv6"]
Mode = Literal["greeting", "tls"]

_CONNECT = 4.0  # seconds; a packet that is lost twice still gets through
_GREETING = 2.5
_REPLY = 4.0
_LONGEST_REPLY = 65_536  # bytes
_UNREACHABLE = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}
_PROBE_NAME = "probe.invalid"  # RFC 2606: who probes is nobody's business


class End(StrEnum):
    """How far a try came."""

    SILENT = "silent"  # no answer to the connection's first packet
    REFUSED = "refused"
    UNREACHABLE = "unreachable"
    RESET = "reset"  # cut off after the connection stood
    NO_GREETING = "no_greeting"
    NOT_TLS = "not_tls"  # something answered a TLS hello, but not with TLS
    NOT_SMTP = "not_smtp"
    TURNED_AWAY = "turned_away"  # a mail server that does not want this client
    SPOKE = "spoke"  # an SMTP session that came to its EHLO


@dataclass(frozen=True, slots=True)
class Target:
    """host: the name that the certificate has to have. mode: who speaks first, the client with TLS or the server."""

    host: str
    family: Family
    address: str
    port: int
    mode: Mode


@dataclass(frozen=True, slots=True)
class Shown:
    """A certificate as it came. problem: why it is not trusted for this host; empty when it is. der: empty when it was
    refused before it could be kept. version: of TLS."""

    problem: str
    der: bytes
    version: str


@dataclass(frozen=True, slots=True)
class Presented:
    """A certificate that was shown, read (see `presented`). problem: as in `Shown`. key: see `key_of`."""

    problem: str
    key: str
    subject: str
    issuer: str
    names: tuple[str, ...]
    expires: str
    version: str


@dataclass(slots=True)
class Attempt:
    """What one try found. seconds: until the session was ready to sign in, or until it ended."""

    target: Target
    end: End = End.SILENT
    seconds: float = 0.0
    banner: str = ""
    starttls: bool = False
    starttls_failed: str = ""
    auth: tuple[str, ...] = ()
    shown: Shown | None = None
    certificate: Presented | None = None  # what `shown` says, once it is read
    statements: list[str] = field(default_factory=list)
    said: str = ""  # first line of what is no SMTP
    location: str = ""  # where a web server sends browsers


class _Ended(Exception):
    def __init__(self, end: End, said: str = "") -> None:
        super().__init__(end)
        self.end = end
        self.said = said


class _Wire:
    """A connection with lines. Raises OSError, TimeoutError among them."""

    def __init__(self, connection: socket.socket, deadline: float) -> None:
        self.socket = connection
        self._deadline = self._until = deadline
        self._buffer = b""

    def within(self, seconds: float) -> None:
        """What comes next may take so long, as a whole: a byte now and then does not lengthen it."""
        self._until = min(time.monotonic() + seconds, self._deadline)
        self._wait()

    def _wait(self) -> None:
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError("out of time")
        self.socket.settimeout(left)

    def line(self) -> bytes:
        while b"\n" not in self._buffer:
            if len(self._buffer) > _LONGEST_REPLY:
                raise _Ended(End.NOT_SMTP, "a line without an end")
            self._wait()
            piece = self.socket.recv(4096)
            if not piece:
                raise ConnectionResetError(errno.ECONNRESET, "closed by the other side")
            self._buffer += piece
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line.rstrip(b"\r")

    def reply(self, seconds: float = _REPLY) -> tuple[int, list[str]]:
        """Code and lines of a reply (RFC 5321 4.2). Raises _Ended for what is none."""
        self.within(seconds)
        lines: list[str] = []
        size = 0
        while True:
            line = self.line()
            size += len(line)
            if not line[:3].isdigit() or line[3:4] not in (b"", b" ", b"-") or size > _LONGEST_REPLY:
                raise _Ended(End.NOT_SMTP, _text(line))
            lines.append(_text(line[4:]))
            if line[3:4] != b"-":
                return int(line[:3]), lines

    def command(self, text: str) -> tuple[int, list[str]]:
        self.within(_REPLY)
        self.socket.sendall(text.encode("ascii") + b"\r\n")
        return self.reply()

    def secure(self, context: ssl.SSLContext, host: str) -> None:
        self.within(_REPLY)
        self._buffer = b""  # what came in the clear counts for nothing (RFC 3207 4.2)
        self.socket = context.wrap_socket(self.socket, server_hostname=host)


def attempt(target: Target, context: ssl.SSLContext, deadline: float) -> Attempt:
    """Try it. context: what the certificate is checked with. deadline: by the monotonic clock."""
    found = Attempt(target)
    begun = time.monotonic()
    try:
        _try(target, context, deadline, found)
        if found.shown is not None and found.shown.problem:
            # Once more without looking, to see who it is that presents this, and whether it speaks.
            _try(target, _blind(), deadline, found, found.shown.problem)
    except _Ended as ended:
        found.end, found.said = ended.end, ended.said
    except TimeoutError:
        if found.end is not End.SPOKE:
            found.end = End.NO_GREETING if found.end is not End.SILENT else End.SILENT
    except OSError as error:
        found.end = _end_of(error, found.end)
    found.seconds = time.monotonic() - begun
    return found


def _try(target: Target, context: ssl.SSLContext, deadline: float, found: Attempt, problem: str = "") -> None:
    found.end = End.SILENT
    with contextlib.closing(_connect(target, deadline)) as connection:
        found.end = End.NO_GREETING
        wire = _Wire(connection, deadline)
        try:
            if target.mode == "tls" and not _handshake(wire, context, target, found, problem):
                return
            _greeted(wire, target, found)
            code, lines = wire.command(f"EHLO {_PROBE_NAME}")
            found.end = End.SPOKE if code == 250 else End.TURNED_AWAY
            _take(found, lines)
            _ask(wire, found)
            if found.starttls and target.mode == "greeting" and wire.command("STARTTLS")[0] == 220:
                if not _handshake(wire, context, target, found, problem):
                    return
                _take(found, wire.command(f"EHLO {_PROBE_NAME}")[1])
                found.starttls = True
                _ask(wire, found)
            wire.command("QUIT")
        finally:
            with contextlib.suppress(OSError):
                wire.socket.close()


def _connect(target: Target, deadline: float) -> socket.socket:
    family = socket.AF_INET6 if target.family == "ipv6" else socket.AF_INET
    connection = socket.socket(family, socket.SOCK_STREAM)
    try:
        connection.settimeout(max(0.1, min(_CONNECT, deadline - time.monotonic())))
        connection.connect((target.address, target.port))
    except BaseException:
        connection.close()
        raise
    return connection


def _greeted(wire: _Wire, target: Target, found: Attempt) -> None:
    try:
        code, lines = wire.reply(_GREETING)
    except TimeoutError:
        _ask_for_a_page(wire, target, found)
        raise _Ended(End.NO_GREETING) from None
    found.banner = lines[0]
    if code != 220:
        raise _Ended(End.TURNED_AWAY, f"{code} {lines[0]}")


def _ask_for_a_page(wire: _Wire, target: Target, found: Attempt) -> None:
    """Whoever waits for the client to begin may be a web server, such as that of a login page."""
    wire.within(_REPLY)
    wire.socket.sendall(f"GET / HTTP/1.0\r\nHost: {target.host}\r\n\r\n".encode("ascii", "replace"))
    first = wire.line()
    if not first.startswith(b"HTTP/"):
        raise _Ended(End.NOT_SMTP, _text(first))
    with contextlib.suppress(OSError, _Ended):
        while line := wire.line():
            name, _, value = line.partition(b":")
            if name.lower() == b"location":
                found.location = _text(value.strip())
    raise _Ended(End.NOT_SMTP, _text(first))


def _ask(wire: _Wire, found: Attempt) -> None:
    """The relay's statement on itself; other servers do not know the command."""
    code, lines = wire.command("XRELAY")
    if code == 250:
        found.statements.append("".join(line.partition(" ")[2] for line in lines))


def _take(found: Attempt, lines: list[str]) -> None:
    words = [line.upper().split() for line in lines[1:]]
    found.starttls = ["STARTTLS"] in words
    found.auth = tuple(word for each in words if each[:1] == ["AUTH"] for word in each[1:])


def _handshake(wire: _Wire, context: ssl.SSLContext, target: Target, found: Attempt, problem: str) -> bool:
    """TLS on; False, with the reason in `found`, when the certificate is not trusted or there is no TLS."""
    try:
        wire.secure(context, target.host)
    except ssl.SSLCertVerificationError as error:
        found.shown = Shown(error.verify_message or "not trusted", b"", "")
        return False
    except ssl.SSLError as error:
        reason = (error.reason or str(error)).replace("_", " ").lower()
        if target.mode == "tls":
            raise _Ended(End.NOT_TLS, reason) from None
        found.starttls_failed = reason
        return False
    secured = wire.socket
    assert isinstance(secured, ssl.SSLSocket)
    found.shown = Shown(problem, secured.getpeercert(binary_form=True) or b"", secured.version() or "")
    return True


def _blind() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _end_of(error: OSError, so_far: End) -> End:
    if error.errno in _UNREACHABLE:
        return End.UNREACHABLE
    if so_far is End.SILENT:
        # Nothing stood yet. A firewall that answers with ICMP says EACCES or EHOSTUNREACH.
        return End.REFUSED if isinstance(error, ConnectionRefusedError | ConnectionResetError) else End.UNREACHABLE
    return so_far if so_far is End.SPOKE else End.RESET


def _text(raw: bytes) -> str:
    return raw[:500].decode("utf-8", "replace")
