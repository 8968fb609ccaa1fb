# SPDX-License-Identifier: GPL-3.0-or-later
"""How to make ordinary mail programs submit one message: their command lines and files, and what they answer.

Every program verifies the server's certificate and name (swaks before 20240103 verifies the chain only),
and none gets the password on its command line: it stands in a file or on standard input, for this user alone.
"""

from __future__ import annotations

import os
import re
import smtplib
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

__all__ = ["PROGRAMS", "Invocation", "Probe", "ProbeFailedError", "message_text", "server_reply", "submit"]

_REPLY = re.compile(r"([2-5]\d\d)[ -](.*)")
_TROUBLE = re.compile(r"fail|error|cannot|could not|unable|refused|timed out|timeout|not trusted|problem", re.I)
_LISTENING = {"starttls", "implicit", "none"}


class ProbeFailedError(Exception):
    """The message was not taken; the text is what the server said, or else the program, in one line."""


@dataclass(frozen=True)
class Probe:
    """One message to submit on one port.

    tls is `starttls`, `implicit` or `none`; account "" submits without signing in; timeout is in seconds.
    """

    host: str
    port: int
    tls: str
    message_id: str
    sender: str
    recipient: str
    account: str = ""
    password: str = field(default="", repr=False)
    ca_file: str = ""
    timeout: float = 20.0

    def __post_init__(self) -> None:
        if self.tls not in _LISTENING:
            raise ValueError(f"tls: {self.tls!r} is none of {', '.join(sorted(_LISTENING))}")
        for name in ("host", "message_id", "sender", "recipient", "account", "password", "ca_file"):
            if any(character in "\r\n\0" for character in getattr(self, name)):
                raise ValueError(f"{name} has a line end in it")


@dataclass(frozen=True)
class Invocation:
    """A command, what it reads on standard input, and what is added to its environment."""

    command: list[str]
    stdin: bytes
    environment: Mapping[str, str] = field(default_factory=dict)


def message_text(probe: Probe, date: str) -> str:
    """The probe message with LF line ends; `date` is in the form of RFC 5322."""
    return (
        f"From: {probe.sender}\n"
        f"To: {probe.recipient}\n"
        f"Subject: Postroad probe of {probe.host} port {probe.port}\n"
        f"Date: {date}\n"
        f"Message-ID: {probe.message_id}\n"
        "Auto-Submitted: auto-generated\n"
        "MIME-Version: 1.0\n"
        "Content-Type: text/plain; charset=us-ascii\n"
        "\n"
        f"This message was submitted to {probe.host} on port {probe.port} to see whether it arrives.\n"
    )


def _private_file(path: Path, text: str) -> Path:
    """Write `text` to a new file that nobody else can read."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    return path


def _swaks(probe: Probe, directory: Path, message: str) -> Invocation:
    options = [
        f"server {probe.host}",
        f"port {probe.port}",
        f"from {probe.sender}",
        f"to {probe.recipient}",
        f"data @{_private_file(directory / 'message', message)}",
        f"timeout {probe.timeout:.0f}",
    ]
    if probe.tls != "none":
        options += ["tls-on-connect" if probe.tls == "implicit" else "tls", "tls-verify", f"tls-sni {probe.host}"]
        options += [f"tls-ca-path {probe.ca_file}"] if probe.ca_file else []
    if probe.account:
        options += ["auth PLAIN", f"auth-user {probe.account}", f"auth-password {probe.password}"]
    config = _private_file(directory / "swaks.conf", "\n".join(options) + "\n")
    return Invocation(["swaks", "--config", str(config)], b"")


def _msmtp(probe: Probe, directory: Path, message: str) -> Invocation:
    lines = [
        "account probe",
        f"host {probe.host}",
        f"port {probe.port}",
        f"from {probe.sender}",
        f"timeout {probe.timeout:.0f}",
        f"tls {'off' if probe.tls == 'none' else 'on'}",
    ]
    if probe.tls != "none":
        lines.append(f"tls_starttls {'on' if probe.tls == 'starttls' else 'off'}")
        lines.append(f"tls_trust_file {probe.ca_file or 'system'}")
    if probe.account:
        # A password may hold any character, msmtp's configuration may not: it is read from a file of its own.
        secret = _private_file(directory / "password", probe.password + "\n")
        lines += ["auth plain", f'user "{probe.account}"', f"passwordeval \"cat '{secret}'\""]
    config = _private_file(directory / "msmtprc", "\n".join(lines) + "\n")
    command = ["msmtp", f"--file={config}", "--account=probe", "--debug", "--", probe.recipient]
    return Invocation(command, message.encode())


def _curl(probe: Probe, directory: Path, message: str) -> Invocation:
    def quoted(value: str) -> str:
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'

    scheme = "smtps" if probe.tls == "implicit" else "smtp"
    lines = [
        f"url = {quoted(f'{scheme}://{probe.host}:{probe.port}')}",
        f"mail-from = {quoted(probe.sender)}",
        f"mail-rcpt = {quoted(probe.recipient)}",
        f"upload-file = {quoted(str(_private_file(directory / 'message', message)))}",
        f"max-time = {probe.timeout:.0f}",
        "crlf",
        "silent",
        "show-error",
        "verbose",
    ]
    if probe.tls == "starttls":
        lines.append("ssl-reqd")
    if probe.ca_file and probe.tls != "none":
        lines.append(f"cacert = {quoted(probe.ca_file)}")
    if probe.account:
        lines += [f"user = {quoted(f'{probe.account}:{probe.password}')}", 'login-options = "AUTH=PLAIN"']
    return Invocation(["curl", "--disable", "--config", "-"], ("\n".join(lines) + "\n").encode())


def _s_nail(probe: Probe, directory: Path, message: str) -> Invocation:
    scheme = "smtps" if probe.tls == "implicit" else "smtp"
    login = f"{quote(probe.account, safe='')}:{quote(probe.password, safe='')}@" if probe.account else ""
    lines = [
        "set v15-compat sendwait nosave norecord",
        f"set mta={scheme}://{login}{probe.host}:{probe.port}",
        f"set smtp-auth={'plain' if probe.account else 'none'}",
        "set hostname=localhost",
        f"set socket-connect-timeout={probe.timeout:.0f}",
    ]
    if probe.tls == "starttls":
        lines.append("set smtp-use-starttls")
    if probe.tls != "none":
        lines.append("set tls-verify=strict")
        lines += [f"set tls-ca-file={probe.ca_file} tls-ca-no-defaults"] if probe.ca_file else []
    config = _private_file(directory / "mailrc", "\n".join(lines) + "\n")
    environment = {"MAILRC": str(config), "HOME": str(directory)}
    # s-nail writes these three itself, and would keep ours beside its own.
    header, _, body = message.partition("\n\n")
    kept = [line for line in header.split("\n") if not line.startswith(("Date:", "MIME-Version:", "Content-Type:"))]
    template = "\n".join([*kept, "", body])
    return Invocation(["s-nail", "-:u", "-vv", "-t", "-r", probe.sender], template.encode(), environment)


PROGRAMS: Mapping[str, Callable[[Probe, Path, str], Invocation] | None] = {
    "swaks": _swaks,
    "msmtp": _msmtp,
    "curl": _curl,
    "s-nail": _s_nail,
    "smtplib": None,  # Python's own, run in this process: always there
}


def server_reply(transcript: str, *, accepted: bool) -> str:
    """The reply that matters in what a program printed: the acceptance, or the last refusal; "" for none.

    Every program marks the server's lines in its own way (`<-`, `<--`, `<`, `s-nail: >>> SERVER:`); only what
    follows the mark is looked at, so that nothing the program sent, such as a password, is ever returned.
    """
    found = ""
    for line in transcript.splitlines():
        mark = re.match(r"\s*(?:<[-~*]{0,3}|s-nail: >>> SERVER:)\s+", line)
        reply = _REPLY.match(line, mark.end()) if mark else None
        # An acceptance is a 250; what comes after it, such as the 221 to QUIT, is not waited for by every program.
        if reply and (reply[1] == "250" if accepted else reply[1][0] in "45"):
            found = f"{reply[1]} {reply[2]}".strip()
    return found


def _run(program: str, invocation: Invocation, timeout: float) -> str:
    """Run a program; return the reply that took the message. Raises ProbeFailedError."""
    environment = {**os.environ, "LC_ALL": "C.UTF-8", **invocation.environment}
    try:
        done = subprocess.run(
            invocation.command,
            input=invocation.stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            timeout=timeout + 5,
            check=False,
        )
    except FileNotFoundError:
        raise ProbeFailedError(f"{program} is not installed here") from None
    except subprocess.TimeoutExpired:
        raise ProbeFailedError(f"{program}: no answer in {timeout:.0f} s") from None
    transcript = done.stdout.decode(errors="replace")
    if done.returncode != 0:
        said = server_reply(transcript, accepted=False) or _last_words(program, transcript)
        raise ProbeFailedError(said)
    return server_reply(transcript, accepted=True)


def _last_words(program: str, transcript: str) -> str:
    """What the program itself says was wrong: its first line that tells of trouble, or its last at all."""
    own = [
        line.strip()
        for line in transcript.splitlines()
        if re.match(rf"{re.escape(program)}: (?! |>>>|COMMAND|Credentials)|\*\*\* |curl: ", line.strip())
    ]
    telling = [line for line in own if _TROUBLE.search(line)] or own[-1:]
    return f"{program}: {telling[0].removeprefix(f'{program}: ') if telling else 'failed without a message'}"


def _smtplib(probe: Probe, message: str) -> str:
    """Submit with Python's smtplib; return the reply that took the message. Raises ProbeFailedError."""
    context = ssl.create_default_context(cafile=probe.ca_file or None)
    try:
        if probe.tls == "implicit":
            client: smtplib.SMTP = smtplib.SMTP_SSL(probe.host, probe.port, timeout=probe.timeout, context=context)
        else:
            client = smtplib.SMTP(probe.host, probe.port, timeout=probe.timeout)
        with client:
            if probe.tls == "starttls":
                client.starttls(context=context)
            if probe.account:
                client.login(probe.account, probe.password)
            client.mail(probe.sender)
            code, text = client.rcpt(probe.recipient)
            if code // 100 == 2:
                code, text = client.data(message)
    except smtplib.SMTPResponseException as error:
        reply = error.smtp_error.decode(errors="replace") if isinstance(error.smtp_error, bytes) else error.smtp_error
        raise ProbeFailedError(f"{error.smtp_code} {reply}") from None
    except socket.gaierror as error:
        raise ProbeFailedError(f"smtplib: no address for {probe.host}: {error.strerror}") from None
    except (OSError, smtplib.SMTPException) as error:
        raise ProbeFailedError(f"smtplib: {error}") from None
    reply = f"{code} {text.decode(errors='replace')}"
    if code // 100 != 2:
        raise ProbeFailedError(reply)
    return reply


def submit(program: str, probe: Probe, directory: Path, date: str) -> tuple[str, float]:
    """Submit `probe` with `program`, files in `directory` (private, its own for each probe).

    Returns the server's reply and the time of submission (seconds since the epoch).
    Raises ProbeFailedError when it was not taken, ValueError for a program that is not in PROGRAMS.
    """
    if program not in PROGRAMS:
        raise ValueError(f"{program!r} is none of {', '.join(PROGRAMS)}")
    message = message_text(probe, date)
    submitted = time.time()
    build = PROGRAMS[program]
    if build is None:
        return _smtplib(probe, message), submitted
    return _run(program, build(probe, directory, message), probe.timeout), submitted
