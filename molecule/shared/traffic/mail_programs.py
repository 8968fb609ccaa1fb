# SPDX-License-Identifier: GPL-3.0-or-later
"""The command lines that a traveller's mail programs are given."""

import shlex
from dataclasses import dataclass
from email.utils import formatdate

__all__ = ["PROGRAMS", "Submission", "command_line"]

PROGRAMS = ("swaks", "msmtp", "curl")


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
        case _:
            raise ValueError(f"{one.program} is none of {', '.join(PROGRAMS)}")
    return f"printf %s {shlex.quote(one.text)} | {shlex.join(words)}"
