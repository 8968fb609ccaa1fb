# SPDX-License-Identifier: GPL-3.0-or-later
"""Watching a Maildir and a relay's log."""

import json
import os
import threading
import time
from pathlib import Path

import pytest
from ansible_collections.postroad.relay.plugins.module_utils.mailbox_watch import (
    ImapMailbox,
    MailboxError,
    Maildir,
    RelayLog,
    read_journal,
    wait_for,
)

WANTED = frozenset({"<1@a.test>"})


def deliver(maildir: Path, name: str, message_id: str, *, part: str = "new", age: float = 0.0) -> Path:
    (maildir / part).mkdir(parents=True, exist_ok=True)
    file = maildir / part / name
    file.write_text(f"Subject: x\nMessage-Id:\n {message_id}\n\nbody\n")
    when = time.time() - age
    os.utime(file, (when, when))
    return file


class TestMaildir:
    def test_a_maildir_that_is_not_there_yet_is_empty(self, tmp_path: Path) -> None:
        assert Maildir(tmp_path / "none", time.time()).look(WANTED) == {}

    def test_message_is_found_with_the_time_it_was_written(self, tmp_path: Path) -> None:
        watch = Maildir(tmp_path, time.time() - 60)
        deliver(tmp_path, "1.a", "<other@a.test>")
        file = deliver(tmp_path, "2.a", "<1@a.test>", part="cur", age=7)
        found = watch.look(WANTED)
        assert found["<1@a.test>"].arrived == pytest.approx(file.stat().st_mtime)
        assert list(found) == ["<1@a.test>"]

    def test_older_mail_is_not_read(self, tmp_path: Path) -> None:
        deliver(tmp_path, "1.a", "<1@a.test>", age=3600)
        assert Maildir(tmp_path, time.time()).look(WANTED) == {}

    def test_waiting_ends_with_the_last_message(self, tmp_path: Path) -> None:
        late = threading.Timer(0.3, deliver, (tmp_path, "1.a", "<1@a.test>"))
        late.start()
        begun = time.monotonic()
        seen = wait_for(Maildir(tmp_path, time.time()), WANTED, timeout=30)
        late.join()
        assert set(seen) == WANTED
        assert time.monotonic() - begun < 5

    def test_waiting_ends_with_the_timeout(self, tmp_path: Path) -> None:
        assert wait_for(Maildir(tmp_path, time.time()), WANTED, timeout=0.2) == {}


def log(*events: dict[str, object]) -> RelayLog:
    lines = ["Started relay-agent.service", *(json.dumps(event) for event in events), "[1]", '{"cut']
    return RelayLog(0.0, journal=lambda: lines)


ACCEPTED: dict[str, object] = {"ts": 10.0, "event": "accepted", "queue_id": "Q1", "message_id": "<1@a.test>"}


class TestRelayLog:
    def test_delivery_is_an_arrival(self) -> None:
        delivered = {"ts": 12.5, "event": "delivered", "queue_id": "Q1", "host": "mx.a.test", "reply": "250 2.0.0 Ok"}
        sighting = log(ACCEPTED, delivered).look(WANTED)["<1@a.test>"]
        assert sighting.arrived == 12.5
        assert sighting.detail == "delivered mx.a.test 250 2.0.0 Ok"

    def test_deferral_is_not_the_end(self) -> None:
        deferred = {"ts": 11.0, "event": "deferred", "queue_id": "Q1", "host": "mx.a.test", "reply": "450 Later"}
        watch = log(ACCEPTED, deferred)
        assert watch.look(WANTED)["<1@a.test>"].final is False
        assert wait_for(watch, WANTED, timeout=0)["<1@a.test>"].detail == "deferred mx.a.test 450 Later"
        delivered = {"ts": 12.0, "event": "delivered", "queue_id": "Q1"}
        assert log(ACCEPTED, deferred, delivered).look(WANTED)["<1@a.test>"].arrived == 12.0

    def test_failure_is_no_arrival(self) -> None:
        failed = {"ts": 11.0, "event": "failed", "queue_id": "Q1", "status": "5.1.2", "reply": "no such\n domain"}
        sighting = log(ACCEPTED, failed).look(WANTED)["<1@a.test>"]
        assert (sighting.arrived, sighting.final) == (None, True)
        assert sighting.detail == "failed 5.1.2 no such domain"

    def test_other_messages_do_not_count(self) -> None:
        assert log({"ts": 12.5, "event": "delivered", "queue_id": "Q9"}).look(WANTED) == {}


@pytest.mark.parametrize(
    ("status", "hint"),
    [
        (1, "No journal files were opened due to insufficient permissions."),
        (0, "Hint: You are currently not seeing messages from other users and the system."),
    ],
)
def test_a_log_that_may_not_be_read_is_not_an_empty_one(
    status: int, hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journalctl = tmp_path / "journalctl"
    # Like the real one, it keeps the hint to itself when it is to be quiet.
    journalctl.write_text(f'#!/bin/sh\ncase "$*" in *--quiet*) ;; *) echo "{hint}" >&2 ;; esac\nexit {status}\n')
    journalctl.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(MailboxError, match=hint):
        read_journal("relay-agent.service", 0.0)


def test_imap_server_that_does_not_answer_is_named() -> None:
    with pytest.raises(MailboxError, match=r"INBOX of me on 127\.0\.0\.1 port 1: .*refused"):
        ImapMailbox("127.0.0.1", 1, "me", "secret")
