# SPDX-License-Identifier: GPL-3.0-or-later
"""Watches a mailbox, or a relay's own log, until the messages that are waited for have arrived."""

from __future__ import annotations

import imaplib
import json
import re
import ssl
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from email.parser import BytesHeaderParser
from pathlib import Path
from typing import Protocol

__all__ = ["ImapMailbox", "MailboxError", "Maildir", "RelayLog", "Sighting", "Watch", "read_journal", "wait_for"]


class MailboxError(Exception):
    """The mailbox cannot be looked at; the text says which and why."""


@dataclass(frozen=True)
class Sighting:
    """What was seen of a message.

    arrived is in seconds since the epoch, None for a message that has not arrived; detail says more in words.
    final False: it may still arrive.
    """

    arrived: float | None
    detail: str = ""
    final: bool = True


class Watch(Protocol):
    """A place where messages arrive."""

    interval: float  # seconds between two looks

    def look(self, wanted: frozenset[str]) -> dict[str, Sighting]:
        """What is known now of the messages with these Message-IDs. Raises MailboxError."""


class Maildir:
    """A Maildir on this host. `since` (seconds since the epoch) spares reading older mail."""

    interval = 0.1

    def __init__(self, path: Path, since: float) -> None:
        self._path = path
        self._since = since - 5  # a file system's clock is a little behind
        self._seen: set[str] = set()

    def look(self, wanted: frozenset[str]) -> dict[str, Sighting]:
        """See Watch."""
        found: dict[str, Sighting] = {}
        for file in self._new_files():
            try:
                with file.open("rb") as stream:
                    message_id = BytesHeaderParser().parse(stream).get("Message-ID", "").strip()
                written = file.stat().st_mtime
            except FileNotFoundError:
                continue  # a mail program moved it from new/ to cur/: seen there at the next look
            self._seen.add(file.name.partition(":")[0])
            if message_id in wanted:
                found[message_id] = Sighting(written, str(file))
        return found

    def _new_files(self) -> Iterator[Path]:
        # The directory appears with the first message.
        for part in ("new", "cur"):
            directory = self._path / part
            if not directory.is_dir():
                continue
            for file in directory.iterdir():
                if file.name.partition(":")[0] not in self._seen and file.stat().st_mtime >= self._since:
                    yield file


class ImapMailbox:
    """A folder on an IMAP server, over TLS (RFC 8314) with a verified certificate."""

    interval = 1.0

    def __init__(
        self, host: str, port: int, username: str, password: str, *, folder: str = "INBOX", ca_file: str = ""
    ) -> None:
        self._where = f"IMAP folder {folder} of {username} on {host} port {port}"
        try:
            context = ssl.create_default_context(cafile=ca_file or None)
            self._client = imaplib.IMAP4_SSL(host, port, ssl_context=context, timeout=20)
            self._client.login(username, password)
            status, _ = self._client.select(f'"{folder}"', readonly=True)
        except (imaplib.IMAP4.error, OSError) as error:
            raise MailboxError(f"{self._where}: {error}") from None
        if status != "OK":
            raise MailboxError(f"{self._where}: no such folder")

    def look(self, wanted: frozenset[str]) -> dict[str, Sighting]:
        """See Watch. The time is that of the look: an IMAP server keeps whole seconds only."""
        found: dict[str, Sighting] = {}
        try:
            self._client.noop()  # lets the server tell of new messages
            for message_id in wanted:
                _, hits = self._client.search(None, "HEADER", "Message-ID", f'"{message_id}"')
                if hits and hits[0]:
                    found[message_id] = Sighting(time.time(), self._where)
        except (imaplib.IMAP4.error, OSError) as error:
            raise MailboxError(f"{self._where}: {error}") from None
        return found


def read_journal(unit: str, since: float) -> Iterable[str]:
    """Lines that a unit logged since a time (seconds since the epoch). Raises MailboxError."""
    command = ["journalctl", f"--unit={unit}", f"--since=@{since:.0f}", "--output=cat", "--no-pager"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MailboxError(f"journal of {unit}: {error}") from None
    # A user who may not read a service's journal gets an empty answer, and status 0 once it has a journal of its own.
    if done.returncode or "not seeing messages" in done.stderr:
        raise MailboxError(f"journal of {unit}: {done.stderr.strip()}")
    return done.stdout.splitlines()


class RelayLog:
    """The relay's own log: a message has arrived when the host responsible for the recipient took it."""

    interval = 0.5

    def __init__(self, since: float, *, journal: Callable[[], Iterable[str]] | None = None) -> None:
        self._journal = journal or (lambda: read_journal("relay-agent.service", since - 1))

    def look(self, wanted: frozenset[str]) -> dict[str, Sighting]:
        """See Watch. A message that was deferred may still arrive: the relay goes on trying."""
        queued: dict[str, str] = {}
        found: dict[str, Sighting] = {}
        for line in self._journal():
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if not isinstance(event, dict):
                continue
            kind, queue_id = event.get("event"), event.get("queue_id")
            if kind == "accepted" and event.get("message_id") in wanted:
                queued[str(queue_id)] = str(event["message_id"])
            elif queue_id in queued and kind in ("delivered", "deferred", "failed"):
                when = event.get("ts") if kind == "delivered" else None
                arrived = float(when) if isinstance(when, float | int) else None
                found[queued[queue_id]] = Sighting(arrived, _said(event), final=kind != "deferred")
        return found


def _said(event: dict[str, object]) -> str:
    """An event in words: what happened, at which host, what was said."""
    parts = [event.get(key) for key in ("event", "host", "status", "reply")]
    return re.sub(r"\s+", " ", " ".join(str(part) for part in parts if part))


def wait_for(watch: Watch, wanted: frozenset[str], timeout: float) -> dict[str, Sighting]:
    """Look until the fate of every message is known or `timeout` seconds are over. Raises MailboxError."""
    deadline = time.monotonic() + timeout
    seen: dict[str, Sighting] = {}
    missing = wanted
    while missing:
        seen.update(watch.look(missing))
        missing = frozenset(name for name in missing if name not in seen or not seen[name].final)
        if time.monotonic() >= deadline:
            break
        if missing:
            time.sleep(watch.interval)
    return seen
