# SPDX-License-Identifier: GPL-3.0-or-later
"""What an operator sees of mail and does to it, with the agent running, after a kill, and without it."""

from __future__ import annotations

import io
import json
import shutil
import signal
import smtplib
import socket
import sqlite3
import subprocess
import sys
import tarfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from relay_agent.history.segments import create, segments
from tests.integration.agent.conftest import PLAIN, Agent, Sink, wait_for
from tests.ports import free_port

HISTORY = """
[process]
workers = 2
"""


def told(agent: Agent, *words: str, status: int = 0) -> str:
    done = agent.command(*words, "--config", str(agent.config))
    assert done.returncode == status, (words, done.stdout, done.stderr)
    return done.stdout if status == 0 else done.stderr


def listed(agent: Agent, *words: str) -> Any:
    return json.loads(told(agent, *words, "--json"))


def submit(agent: Agent, *recipients: str, message_id: str = "<one@alpha.test>") -> str:
    with smtplib.SMTP("127.0.0.1", agent.starttls, timeout=20) as program:
        program.ehlo()
        program.mail("alice@alpha.test")
        for recipient in recipients:
            program.rcpt(recipient)
        code, text = program.data(f"From: alice@alpha.test\nMessage-ID: {message_id}\nSubject: test\n\nHello\n")
    assert code == 250, text
    return text.decode().rpartition(" ")[2]


def plain(agent: Agent, extra: str = "") -> None:
    agent.configure(f'retry_max = "1h"\n{HISTORY}{extra}', listeners=PLAIN)


def test_mail_that_waits_is_seen_held_released_exported_and_given_back(
    agent: Agent, sink: Sink, tmp_path: Path
) -> None:
    plain(agent)
    agent.config.write_text(agent.config.read_text().replace('retry_first = "1s"', 'retry_first = "20m"'))
    agent.start()  # with a port where nobody listens as the next hop
    ids = [submit(agent, f"user{number}@beta.test", "carl@gamma.test") for number in range(6)]
    wait_for(lambda: len(agent.events("deferred")) == 12, what="the deferral of all")

    groups = listed(agent, "queue", "list", "--groups")
    assert [(group["destination"], group["recipients"]) for group in groups] == [("beta.test", 6), ("gamma.test", 6)]
    assert "connection refused" in groups[0]["reason"]
    text = told(agent, "queue", "list", "--destination", "beta.test")
    assert "gamma.test" not in text
    assert "6 recipients in 1 group" in text

    assert "6 messages (6 recipients) held" in told(agent, "queue", "hold", "--destination", "gamma.test")
    assert listed(agent, "queue", "list", "--held", "--groups")[0]["held"] == 6
    assert "4 messages" in told(agent, "queue", "release", "--destination", "gamma.test", *ids[:4])
    assert listed(agent, "queue", "hold", ids[0], "--recipient", "user0@beta.test")["recipients"] == 1

    directory = tmp_path / "exported"
    told(agent, "queue", "export", ids[0], ids[1], "--to", str(directory))
    assert sorted(path.name for path in directory.iterdir()) == sorted(
        f"{each}.{end}" for each in ids[:2] for end in ("eml", "json")
    )
    assert b"Message-ID: <one@alpha.test>\r\n" in (directory / f"{ids[0]}.eml").read_bytes()
    assert len(json.loads((directory / f"{ids[1]}.json").read_text())["recipients"]) == 2

    wait_for(lambda: len(agent.events("deferred")) >= 16, what="the released ones' attempts")
    done = listed(
        agent, "queue", "bounce", "--destination", "gamma.test", "--held", "--because", "wrong domain", "--yes"
    )
    assert (done["messages"], done["recipients"]) == (2, 2)
    wait_for(lambda: len(agent.events("bounced")) == 2, what="both bounces in the log")
    deleted = listed(agent, "queue", "delete", "--destination", "gamma.test", "--yes")
    assert deleted["messages"] == 4
    sink.start()
    told(agent, "queue", "retry", "--all")
    wait_for(lambda: len(agent.events("delivered")) >= 7, what="delivery of all but what is held")
    wait_for(lambda: [each["id"] for each in listed(agent, "queue", "list")] == [ids[0]], what="their end in the queue")
    bounces = [message for message in sink.messages() if b"wrong domain" in message]
    assert len(bounces) == 2
    assert b"Status: 5.4.7" in bounces[0]

    # Told as a story, the bounce and the operator's part in it included.
    story = told(agent, "trace", ids[5])
    assert "Accepted from <alice@alpha.test>" in story
    assert "The operator held it, for <carl@gamma.test>." in story
    assert "the operator of the relay gave up on it: wrong domain" in story
    assert "A bounce was written to <alice@alpha.test>" in story
    assert "Delivered to <user5@beta.test>" in story
    assert "Not delivered to <user0@beta.test> yet" in told(agent, "queue", "show", ids[0])

    assert agent.signal(signal.SIGTERM) == 0
    archive = agent.command("queue", "list", "--groups", "--config", str(agent.config))
    assert "beta.test" in archive.stdout
    assert "1 message (1 recipient) given up" in told(agent, "queue", "bounce", "--held", "--yes")
    assert "gave up on it" in told(agent, "trace", "--recipient", "user0@beta.test")
    assert len(listed(agent, "queue", "list")) == 1  # the bounce


def test_a_trace_outlives_a_kill_and_says_what_it_searched(agent: Agent, sink: Sink) -> None:
    plain(agent)
    sink.start()
    agent.start()
    first = submit(agent, "bob@beta.test", message_id="<first@alpha.test>")
    wait_for(lambda: agent.events("delivered") != [], what="the delivery")
    for words in (
        [first.lower()],
        ["<first@alpha.test>"],
        ["first@alpha.test"],
        ["--message-id", "first@alpha.test"],
        ["--sender", "ALICE@alpha.test", "--recipient", "bob@beta.test"],
        ["--recipient", "Bob@Beta.test", "--since", "1h"],
        ["bob@beta.test"],
    ):
        assert "Delivered to <bob@beta.test>" in told(agent, "trace", *words), words
    assert "has left the queue" in told(agent, "queue", "show", first)

    kept(agent, first, "delivered")
    assert agent.process is not None
    agent.process.kill()
    agent.process.wait()
    assert listed(agent, "trace", "bob@beta.test")[0]["id"] == first  # with nobody running
    agent.process = None
    agent.starttls, agent.implicit = free_port(), free_port()
    plain(agent, '[history]\nkeep = "2d"\n')
    old = create(agent.directory / "queue" / "history", time.time() - 4 * 86_400)
    agent.start()
    wait_for(lambda: not old.path.exists(), what="the end of what is too old")
    second = submit(agent, "bob@beta.test", message_id="<second@alpha.test>")
    wait_for(lambda: len(agent.events("delivered")) == 2, what="the second delivery")
    assert [each["id"] for each in listed(agent, "trace", "bob@beta.test")] == [first, second]

    problem = told(agent, "trace", "--recipient", "nobody@beta.test", status=1)
    assert "nothing found for recipient nobody@beta.test: looked in the queue and the history" in problem
    assert "kept for 2 d" in problem

    # Forgotten at once when it is not wanted any more.
    assert agent.signal(signal.SIGTERM) == 0
    plain(agent, "[history]\nenabled = false\n")
    agent.start()
    assert "[history] is off" in told(agent, "trace", "bob@beta.test", status=1)
    wait_for(lambda: segments(agent.directory / "queue" / "history") == [], what="the end of all files")


def kept(agent: Agent, queue_id: str, event: str) -> None:
    """Wait until the event is in the history's files: a kill may cost the last half second of them."""

    def written() -> bool:
        lines = "".join(each.path.read_text() for each in segments(agent.directory / "queue" / "history")).splitlines()
        return any(queue_id in line and f'"event":"{event}"' in line for line in lines)

    wait_for(written, what=f"{event} in the history")


def in_database(agent: Agent) -> set[str]:
    found = set()
    for path in (agent.directory / "queue").glob("*/queue.db"):
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            # The second worker may still be making its own.
            if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'messages'").fetchone():
                found |= {row[0] for row in connection.execute("SELECT queue_id FROM messages")}
    return found


def test_mail_that_only_the_journal_has_is_seen_as_well(agent: Agent, sink: Sink) -> None:
    plain(agent)
    with socket.create_server(("127.0.0.1", sink.port)):  # a next hop that takes connections and says nothing
        agent.start()

        def fresh() -> str:
            """A message that waits for the next hop's greeting, and is in no database yet."""
            queue_id = submit(agent, "bob@beta.test", "carl@gamma.test")
            assert queue_id not in in_database(agent)
            return queue_id

        fresh()
        groups = listed(agent, "queue", "list", "--groups")
        assert [(group["destination"], group["reason"]) for group in groups] == [
            ("beta.test", "not tried yet"),
            ("gamma.test", "not tried yet"),
        ]
        first = fresh()
        assert first in [each["id"] for each in listed(agent, "queue", "list")]
        second = fresh()
        assert "bob@beta.test" in told(agent, "queue", "list", "--each", "--recipient", "bob@beta.test", second)
        third = fresh()
        assert "Not tried yet." in told(agent, "queue", "show", third)
        fourth = fresh()
        story = told(agent, "trace", fourth)
        assert "Accepted from <alice@alpha.test>" in story
        assert "It is in the queue for 2 recipients; the next attempt is due now." in story
        fifth = fresh()
        assert listed(agent, "queue", "hold", fifth, "--recipient", "carl@gamma.test")["recipients"] == 1
        sixth = fresh()
        held = listed(agent, "queue", "hold", "--destination", "gamma.test", "--sender", "alice@alpha.test")
        assert held["recipients"] == 6  # one was so already
        assert {first, fifth, sixth} <= {each["id"] for each in listed(agent, "queue", "list", "--held", "--each")}

        # The same with nobody running: what a kill has left is in the journal's files.
        last = fresh()
        kept(agent, last, "accepted")
        agent.kill_all()
        assert last not in in_database(agent)
        shutil.copytree(agent.directory / "queue", agent.directory / "left")
        for words in (
            ("queue", "list", "--groups"),
            ("queue", "list"),
            ("queue", "show", last),
            ("trace", last),
            ("queue", "hold", last),
            ("queue", "delete", last, "--yes"),
        ):
            shutil.rmtree(agent.directory / "queue")
            shutil.copytree(agent.directory / "left", agent.directory / "queue")
            assert last not in in_database(agent)
            found = listed(agent, *words)
            match words[1]:
                case "list" if "--groups" in words:
                    assert sum(group["recipients"] for group in found) == 16
                case "list":
                    assert last in [each["id"] for each in found]
                case "show":
                    assert len(found["recipients"]) == 2
                case "hold" | "delete":
                    assert found["messages"] == 1
                case _:
                    assert [each["event"] for each in found[0]["events"]] == ["accepted"]
                    assert len(found[0]["queued"]["recipients"]) == 2


def test_an_archive_for_another_program(agent: Agent) -> None:
    plain(agent)
    agent.start()
    queue_id = submit(agent, "bob@beta.test")
    wait_for(lambda: agent.events("deferred") != [], what="the deferral")
    done = subprocess.run(
        [sys.executable, "-m", "relay_agent", "queue", "export", "--all", "--tar", "--config", str(agent.config)],
        capture_output=True,
        check=True,
        timeout=90,
    )
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        assert archive.getnames() == [f"{queue_id}.eml", f"{queue_id}.json"]
