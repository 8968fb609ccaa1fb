# SPDX-License-Identifier: GPL-3.0-or-later
"""The mail programs: how each is told to send a letter, what it can do, and what it does when left to itself.

Each signs in, verifies the relay's certificate with the authority that the way names, and says on its output
what went over the line. All of them look up the name `localhost` themselves.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from ansible_collections.postroad.relay.plugins.module_utils.mail_programs import Invocation

from .letter import Letter, Way

__all__ = ["PROGRAMS", "Outcome", "Program", "send"]

_HERE = Path(__file__).parent
_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin"


@dataclass(frozen=True)
class Program:
    """One mail program.

    build: its command, files in a private directory. mechanisms: those it can be made to use, and chooses: the
    one it takes by itself. patches: what it sends is a patch, not text with an attachment. raw: it leaves text
    beyond ASCII as it is. utf8: it knows SMTPUTF8; if not, `unable` is what its user reads for an address beyond
    ASCII. wrong: what they read when the password is wrong. debug: the file in HOME that has its transcript, if
    that is not on its output.
    """

    name: str
    build: Callable[[Way, Letter, Path], Invocation]
    mechanisms: tuple[str, ...]
    chooses: str
    utf8: bool = False
    patches: bool = False
    raw: bool = True
    unable: str = "An address beyond ASCII needs SMTPUTF8"
    wrong: str = "The user name or the password is wrong"
    debug: str = ""


@dataclass(frozen=True)
class Outcome:
    """Exit status and everything that the program said."""

    status: int
    said: str


def send(program: Program, way: Way, letter: Letter, directory: Path) -> Outcome:
    """Run the program, in a home directory of its own."""
    invocation = program.build(way, letter, directory)
    done = subprocess.run(
        invocation.command,
        input=invocation.stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=directory,
        env={"PATH": _PATH, "HOME": str(directory), "LC_ALL": "C.UTF-8", **invocation.environment},
        timeout=60,
    )
    said = done.stdout.decode(errors="replace")
    if program.debug and way.verbose:
        said += (directory / program.debug).read_text(errors="replace")
    return Outcome(done.returncode, said)


def _file(directory: Path, name: str, content: str | bytes) -> Path:
    path = directory / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    path.chmod(0o600)
    return path


def _quoted(value: str, special: str = '"\\') -> str:
    return '"' + "".join(f"\\{letter}" if letter in special else letter for letter in value) + '"'


def _swaks(way: Way, letter: Letter, directory: Path) -> Invocation:
    options = [
        f"server {way.host}",
        f"port {way.port}",
        "tls-on-connect" if way.tls == "implicit" else "tls",
        "tls-verify",
        f"tls-ca-path {way.authority}",
        f"auth {way.mechanism}".rstrip(),
        f"auth-user {way.account}",
        f"auth-password {way.password}",
        f"from {letter.sender}",
        f"to {','.join(letter.recipients)}",
        f"data @{_file(directory, 'message', letter.content())}",
    ]
    options += [] if way.verbose else ["silent 2"]  # what went wrong, with the server's words
    return Invocation(["swaks", "--config", str(_file(directory, "swaks.conf", "\n".join(options) + "\n"))], b"")


def _msmtp(way: Way, letter: Letter, directory: Path) -> Invocation:
    config = f"""account relay
host {way.host}
port {way.port}
from {letter.sender}
tls on
tls_starttls {"off" if way.tls == "implicit" else "on"}
tls_trust_file {way.authority}
auth {way.mechanism.lower() or "on"}
user {_quoted(way.account, "")}
passwordeval "cat '{_file(directory, "password", way.password)}'"
"""
    command = ["msmtp", f"--file={_file(directory, 'msmtprc', config)}", "--account=relay"]
    command += ["--debug", "--"] if way.verbose else ["--"]
    return Invocation([*command, *letter.recipients], letter.content())


def _curl(way: Way, letter: Letter, directory: Path) -> Invocation:
    lines = [
        f"url = {'smtps' if way.tls == 'implicit' else 'smtp'}://{way.host}:{way.port}/laptop.test",
        f"mail-from = {_quoted(letter.sender)}",
        *(f"mail-rcpt = {_quoted(recipient)}" for recipient in letter.recipients),
        f"upload-file = {_quoted(str(_file(directory, 'message', letter.content())))}",
        "crlf",
        "ssl-reqd",
        f"cacert = {_quoted(way.authority)}",
        f"user = {_quoted(f'{way.account}:{way.password}')}",
        "silent",
        "show-error",
    ]
    lines += ["verbose"] if way.verbose else []
    if way.mechanism:
        lines.append(f"login-options = AUTH={way.mechanism}")
    return Invocation(["curl", "--disable", "--config", "-"], ("\n".join(lines) + "\n").encode())


def _s_nail(way: Way, letter: Letter, directory: Path) -> Invocation:
    login = f"{quote(way.account, safe='')}:{quote(way.password, safe='')}"
    lines = [
        "set v15-compat sendwait nosave norecord ttycharset=utf-8 sendcharsets=utf-8 mime-encoding=8b",
        f"set mta={'smtps' if way.tls == 'implicit' else 'smtp'}://{login}@{way.host}:{way.port}",
        "set hostname=laptop.test",
        f"set tls-verify=strict tls-ca-file={way.authority} tls-ca-no-defaults",
    ]
    if way.tls == "starttls":
        lines.append("set smtp-use-starttls")
    if way.mechanism:
        lines.append(f"set smtp-auth={way.mechanism.lower()}")
    environment = {"MAILRC": str(_file(directory, "mailrc", "\n".join(lines) + "\n"))}
    attachment = _file(directory, "data.bin", letter.attachment)
    command = [
        "s-nail",
        *(["-vv"] if way.verbose else []),
        "-:u",
        "-r",
        letter.sender,
        "-s",
        letter.subject,
        "-a",
        str(attachment),
        "-.",
    ]
    return Invocation([*command, *letter.recipients], letter.text.encode(), environment)


def _mutt(way: Way, letter: Letter, directory: Path) -> Invocation:
    scheme = "smtps" if way.tls == "implicit" else "smtp"
    settings = {
        "smtp_url": f"{scheme}://{quote(way.account, safe='')}@{way.host}:{way.port}",
        "smtp_pass": way.password,
        "ssl_ca_certificates_file": way.authority,
        "certificate_file": str(directory / "certificates"),
        "ssl_force_tls": "yes",
        "from": letter.sender,
        "envelope_from_address": letter.sender,
        "use_envelope_from": "yes",
        "record": "",
        "idn_encode": "no",
        "send_charset": "utf-8",
        "hostname": "laptop.test",
    }
    if way.mechanism:
        settings["smtp_authenticators"] = way.mechanism
    special = '$`"\\'
    lines = [f"set {name} = {_quoted(value, special)}\n" for name, value in settings.items()]
    attachment = _file(directory, "data.bin", letter.attachment)
    command = ["mutt", "-n", "-F", str(_file(directory, "muttrc", "".join(lines))), "-s", letter.subject]
    command += ["-d", "2"] if way.verbose else []
    return Invocation([*command, "-a", str(attachment), "--", *letter.recipients], letter.text.encode())


def _git(way: Way, letter: Letter, directory: Path) -> Invocation:
    config = f"""[user]
name = Alice
email = {letter.sender}
[init]
defaultBranch = main
[sendemail]
smtpServer = {way.host}
smtpServerPort = {way.port}
smtpEncryption = {"ssl" if way.tls == "implicit" else "tls"}
smtpSslCertPath = {way.authority}
smtpUser = {_quoted(way.account)}
smtpPass = {_quoted(way.password)}
smtpDomain = laptop.test
confirm = never
suppressCc = all
"""
    if way.mechanism:
        config += f"smtpAuth = {way.mechanism}\n"
    # Nothing of this machine's settings, and no question on a terminal.
    environment = {
        "GIT_CONFIG_GLOBAL": str(_file(directory, "gitconfig", config)),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
    }
    work = directory / "work"
    work.mkdir()
    _file(work, "letter.txt", letter.text)
    for words in (
        ["init", "-q"],
        ["add", "letter.txt"],
        [
            "commit",
            "-q",
            "--cleanup=verbatim",
            "-F",
            str(_file(directory, "log", f"{letter.subject}\n\n{letter.text}")),
        ],
    ):
        subprocess.run(["git", *words], cwd=work, env={"PATH": _PATH, **environment}, check=True)
    recipients = [f"--to={recipient}" for recipient in letter.recipients]
    command = ["git", "-C", str(work), "send-email", f"--smtp-debug={int(way.verbose)}", *recipients, "--root", "HEAD"]
    return Invocation(command, b"", environment)


def _smtplib(way: Way, letter: Letter, directory: Path) -> Invocation:
    wanted = {
        "host": way.host,
        "port": way.port,
        "tls": way.tls,
        "authority": way.authority,
        "account": way.account,
        "password": way.password,
        "mechanism": way.mechanism,
        "verbose": way.verbose,
        "sender": letter.sender,
        "recipients": letter.recipients,
        "subject": letter.subject,
        "text": letter.text,
        "attachment": base64.b64encode(letter.attachment).decode(),
    }
    return Invocation([sys.executable, str(_HERE / "smtplib_program.py")], json.dumps(wanted).encode())


def _nodemailer(way: Way, letter: Letter, directory: Path) -> Invocation:
    transport = {
        "host": way.host,
        "port": way.port,
        "secure": way.tls == "implicit",
        "requireTLS": True,
        "authority": way.authority,
        "auth": {"user": way.account, "pass": way.password},
        "authMethod": way.mechanism or None,
        "name": "laptop.test",
        "debug": way.verbose,
    }
    message = {
        "envelope": {"from": letter.sender, "to": letter.recipients},
        "from": letter.sender,
        "to": letter.recipients[:3],
        "subject": letter.subject,
        "text": letter.text,
        "attachments": [
            {"filename": "data.bin", "content": base64.b64encode(letter.attachment).decode(), "encoding": "base64"}
        ],
    }
    # Debian's node looks there by itself, other builds of it do not.
    environment = {"NODE_PATH": "/usr/share/nodejs"}
    wanted = json.dumps({"transport": transport, "message": message})
    return Invocation(["node", str(_HERE / "nodemailer.js")], wanted.encode(), environment)


_BY_PASSWORD = ("PLAIN", "LOGIN")

PROGRAMS = (
    Program("swaks", _swaks, mechanisms=_BY_PASSWORD, chooses="LOGIN"),
    Program("msmtp", _msmtp, mechanisms=("SCRAM-SHA-256", *_BY_PASSWORD), chooses="PLAIN"),
    Program("curl", _curl, mechanisms=_BY_PASSWORD, chooses="PLAIN", utf8=True, wrong="Login denied"),
    Program("s-nail", _s_nail, mechanisms=_BY_PASSWORD, chooses="PLAIN", unable="contains invalid byte"),
    Program(
        "mutt",
        _mutt,
        mechanisms=("SCRAM-SHA-256", *_BY_PASSWORD),
        chooses="SCRAM-SHA-256",
        utf8=True,
        wrong="SASL authentication failed",
        debug=".muttdebug0",
    ),
    Program("git send-email", _git, mechanisms=_BY_PASSWORD, chooses="PLAIN", patches=True),
    Program("smtplib", _smtplib, mechanisms=_BY_PASSWORD, chooses="PLAIN", utf8=True),
    Program("nodemailer", _nodemailer, mechanisms=_BY_PASSWORD, chooses="PLAIN", raw=False, utf8=True),
)
