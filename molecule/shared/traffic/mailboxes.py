# SPDX-License-Identifier: GPL-3.0-or-later
"""What lies in the mailboxes of the lab's mail host."""

import re
import shlex
import time
from collections import Counter
from collections.abc import Iterable
from email import message_from_bytes
from email.message import Message
from typing import Any

__all__ = ["Mailboxes"]

_ROOT = "/var/mail/virtual"
_TAGGED = re.compile(r"^(?P<file>[^:]+):X-Original-To: [^+\s]+\+(?P<token>[^@\s]+)@", re.MULTILINE)


class Mailboxes:
    """The Maildirs on ``mx``, a host of testinfra."""

    def __init__(self, mx: Any) -> None:
        self._mx = mx

    def files(self) -> dict[str, list[str]]:
        """For each tag that a recipient's address carried, the messages that arrived with it."""
        found: dict[str, list[str]] = {}
        # At most the first: a bounce has the header of the message that it is about in it, too.
        listing = self._mx.run(f"grep -rm1 '^X-Original-To: ' {_ROOT} --include='*' --exclude-dir=tmp").stdout
        for match in _TAGGED.finditer(listing):
            found.setdefault(match["token"], []).append(match["file"])
        return found

    def wait_for(self, tokens: Iterable[str], *, seconds: float) -> Counter[str]:
        """How many messages arrived for each tag, as soon as there is one for each or time is up."""
        wanted = set(tokens)
        deadline = time.monotonic() + seconds
        while True:
            found = self.files()
            if wanted <= found.keys() or time.monotonic() > deadline:
                return Counter({token: len(found.get(token, ())) for token in wanted})
            time.sleep(0.5)

    def read(self, token: str) -> Message:
        """The one message that arrived with this tag; raises LookupError if it is not exactly one."""
        return message_from_bytes(self.octets(token))

    def octets(self, token: str) -> bytes:
        """As `read`, octet for octet, with LF line ends."""
        files = self.files().get(token, [])
        if len(files) != 1:
            raise LookupError(f"{len(files)} messages for {token}")
        # Not check_output: it takes away the last line end.
        content: bytes = self._mx.run(f"cat {shlex.quote(files[0])}").stdout_bytes
        return content
