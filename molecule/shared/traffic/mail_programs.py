# SPDX-License-Identifier: GPL-3.0-or-later
"""The command lines that a traveller's mail programs are given."""

import shlex
from dataclasses import dataclass
from email.utils import formatdate
from urllib.parse import quote

__all__ = ["EVERY_PROGRAM", "PROGRAMS", "Submission", "command_line"]

#: These send a message as it is.
PROGRAMS = ("swaks", "msmtp", "curl")
#: All that the laptop has; s-nail makes the message's header by itself.
EVERY_PROGRAM = (*PROGRAMS, "s-nail", "smtplib")

_SMTPLIB = """\
import smtplib, ssl, sys
host, port, kind, authority, account, password, sender, recipient = sys.argv[1:]
context = ssl.create_default_context(cafile=authority)
if kind == "implicit":
    session = smtplib.SMTP_SSL(host, int(port), timeout=30, context=context)
else:
    session = smtplib.SMTP(host, int(port), timeout=30)
    session.starttls(context=context)
session.login(account, password)
session.sendmail(sender, [recipient], sys.stdin.read())
session.quit()
"""


@dataclass(frozen=True)
class Submission:
    """One message for one port of one relay. ``tls`` is ``starttls`` or ``implicit``.

    ``token`` is in the recipient's tag and in the Message-ID, so that the message can be followed.
    """

    relay: str
    port: int
    tls: str
    program: str
    account: str
    sender: str
    recipient: str
    token: str

    @property
    def text(self) -> str:
        """The message, with LF line ends."""
        return (
            f"From: <{self.sender}>\n"
            f"To: <{self.recipient}>\n"
            f"Subject: {self.program} by {self.relay} port {self.port}\n"
            f"Date: {formatdate()}\n"
            f"Message-ID: <{self.token}@laptop.postroad.test>\n"
            "\n"
            "A line.\n"
            ".A line that begins with a dot.\n"
        )


def command_line(submission: Submission, password: str, authority: str) -> str:
    """A shell command that submits; it verifies the relay's certificate with the ``authority`` (a path)."""
    one = submission
    implicit = one.tls == "implicit"
    match one.program:
        case "swaks":
            words = ["swaks", "--silent", "2", "--server", one.relay, "--port", str(one.port)]
            words += ["--tls-on-connect" if implicit else "--tls", "--tls-verify", "--tls-ca-path", authority]
            words += ["--auth", "PLAIN", "--auth-user", one.account, "--auth-password", password]
            words += ["--from", one.sender, "--to", one.recipient, "--timeout", "30", "--data", "-"]
        case "msmtp":
            words = ["msmtp", f"--host={one.relay}", f"--port={one.port}", "--tls=on", f"--timeout={30}"]
            words += [f"--tls-starttls={'off' if implicit else 'on'}", f"--tls-trust-file={authority}"]
            words += ["--auth=plain", f"--user={one.account}", f"--passwordeval=echo {shlex.quote(password)}"]
            words += [f"--from={one.sender}", one.recipient]
        case "curl":
            scheme = "smtps" if implicit else "smtp"
            words = ["curl", "--silent", "--show-error", f"{scheme}://{one.relay}:{one.port}/laptop.postroad.test"]
            words += ["--ssl-reqd", "--cacert", authority, "--user", f"{one.account}:{password}", "--crlf"]
            words += ["--mail-from", one.sender, "--mail-rcpt", one.recipient, "--max-time", "30"]
            words += ["--upload-file", "-"]
        case "s-nail":
            settings = ["v15-compat", "sendwait", "nosave", "norecord", "hostname=laptop.postroad.test"]
            settings += [
                "tls-verify=strict",
                f"tls-ca-file={authority}",
                "tls-ca-no-defaults",
                "socket-connect-timeout=30",
            ]
            login = f"{quote(one.account, safe='')}:{quote(password, safe='')}"
            settings += [f"mta={'smtps' if implicit else 'smtp'}://{login}@{one.relay}:{one.port}"]
            settings += [] if implicit else ["smtp-use-starttls"]
            words = ["s-nail", "-:/", *(f"-S{each}" for each in settings), "-r", one.sender]
            words += ["-s", f"{one.program} by {one.relay}", "-.", one.recipient]
            return f"printf %s {shlex.quote('A line.')} | {shlex.join(words)}"
        case "smtplib":
            words = ["python3", "-c", _SMTPLIB, one.relay, str(one.port), one.tls, authority, one.account, password]
            words += [one.sender, one.recipient]
        case _:
            raise ValueError(f"{one.program} is none of {', '.join(EVERY_PROGRAM)}")
    return f"printf %s {shlex.quote(one.text)} | {shlex.join(words)}"
