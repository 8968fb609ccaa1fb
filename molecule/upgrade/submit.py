# SPDX-License-Identifier: GPL-3.0-or-later
"""Submits many messages to one relay of the lab, each with a tag of its own, over a few connections.

``submit.py STATE RELAY ADDRESS PREFIX COUNT``: the lab's directory, the relay's name and address, and what the tags
begin with. Every seventh message has delivery options, every hundredth is large.
"""

from __future__ import annotations

import json
import smtplib
import ssl
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

__all__ = ["main", "recipient", "tags"]

_CONNECTIONS = 4
_LARGE = 1_200_000  # bytes: more than the journal takes


def tags(prefix: str, count: int) -> list[str]:
    """The tags of all messages."""
    return [f"{prefix}-{number}" for number in range(count)]


def recipient(tag: str) -> str:
    """Whom the message with this tag is for: two domains in turns."""
    return f"bob+{tag}@{'alpha' if int(tag.rpartition('-')[2]) % 2 else 'beta'}.test"


def _submit(state: Path, relay: str, address: str, some: list[str]) -> int:
    context = ssl.create_default_context(cafile=str(state / "private_ca/ca.pem"))
    password = json.loads((state / "secrets.yml").read_text())["accounts"]["alice"]
    with smtplib.SMTP(address, 587, "controller.postroad.test", timeout=60) as client:
        client._host = relay  # type: ignore[attr-defined]  # the name that the certificate is for
        client.starttls(context=context)
        client.login("alice", password)
        for tag in some:
            number = int(tag.rpartition("-")[2])
            padding = "x" * 70 + "\r\n"
            text = (
                f"From: <alice@alpha.test>\r\nTo: <{recipient(tag)}>\r\nSubject: {tag}\r\n"
                f"Message-ID: <{tag}@controller.postroad.test>\r\n\r\n"
                + padding
                * (_LARGE // 72 if number % 100 == 99 else 20)
            )
            options = ["NOTIFY=FAILURE", "ORCPT=rfc822;bob@example.test"] if number % 7 == 0 else []
            client.sendmail("alice@alpha.test", [recipient(tag)], text, rcpt_options=options)
    return len(some)


def main() -> int:
    """Submit; prints how many were accepted."""
    state, relay, address, prefix, count = Path(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4], int(sys.argv[5])
    every = tags(prefix, count)
    with ThreadPoolExecutor(_CONNECTIONS) as pool:
        done = pool.map(lambda n: _submit(state, relay, address, every[n::_CONNECTIONS]), range(_CONNECTIONS))
        print(sum(done))
    return 0


if __name__ == "__main__":
    sys.exit(main())
