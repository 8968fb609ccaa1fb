# SPDX-License-Identifier: GPL-3.0-or-later
"""A full disk, and a database that is not what was written: refused in words, saved as far as can be, never deleted."""

from __future__ import annotations

import json
import os
import re
import signal
import smtplib
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import PLAIN, Agent, Sink, status, wait_for, wait_until_empty, workers
from .load import Arrivals, Load


@pytest.fixture
def small_disk(agent: Agent) -> Iterator[Path]:
    """The queue's directory on a file system of its own with 80 MB."""
    queue = agent.directory / "queue"
    queue.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=80m,mode=700", "tmpfs", str(queue)]).returncode:
        pytest.skip("needs root for a file system of its own")
    yield queue
    if not agent.ended():
        agent.signal(signal.SIGKILL)
        time.sleep(4)  # its workers end by themselves
    subprocess.run(["umount", "--lazy", str(queue)], check=True)


def submit(agent: Agent, token: str, size: int) -> tuple[int, str]:
    """Send a message; code and text of the last reply."""
    with smtplib.SMTP("127.0.0.1", agent.starttls, timeout=30) as program:
        program.ehlo()
        program.mail("alice@alpha.test")
        program.rcpt("bob@beta.test")
        code, text = program.data(
            f"From: a@alpha.test\n\ntoken-{token}-end\n" + "y" * 70 + f"\n{'z' * 70}" * (size // 71)
        )
        return code, text.decode()


@pytest.mark.usefixtures("small_disk")
def test_a_full_disk_refuses_until_there_is_room(agent: Agent, sink: Sink) -> None:
    agent.configure("[process]\nworkers = 2", listeners=PLAIN)
    agent.start()
    taken: list[str] = []
    code, text = 250, ""
    while code == 250 and len(taken) < 200:
        code, text = submit(agent, f"f{len(taken)}", 2_000_000)
        if code == 250:
            taken.append(f"f{len(taken)}")
    assert (code, text[:6]) == (452, "4.3.1 ")
    assert len(taken) > 3
    # What is in the queue goes on, and makes room by itself.
    sink.start()
    agent.command("queue", "retry", "--all", "--config", str(agent.config))
    wait_until_empty(agent)
    wait_for(lambda: submit(agent, "after", 2_000_000)[0] == 250, 30, "room")
    wait_for(lambda: "after" in Arrivals(sink.directory).times, what="arrival")
    arrived = Arrivals(sink.directory)
    assert set(taken) | {"after"} == set(arrived.times)
    assert arrived.duplicates == {}
    assert len(workers(agent)) == 2


def fill(agent: Agent, load: Load, count: int) -> None:
    load.start(clients=4, messages=10)
    wait_for(lambda: len(load.acknowledged) >= count, 60, "load")
    load.stop()


def notices(agent: Agent) -> str:
    return "\n".join(str(event["notice"]) for event in agent.events("queue_repaired"))


def set_aside(agent: Agent) -> list[Path]:
    """The files that the notices name and that are there."""
    named = (Path(word) for word in re.findall(r"/[^\s,;:']+", notices(agent)))
    return [path for path in named if path.is_file()]


@pytest.mark.parametrize("fault", ["cut short", "pages flipped", "flipped"])
def test_a_damaged_database_is_saved_as_far_as_can_be(agent: Agent, sink: Sink, load: Load, fault: str) -> None:
    agent.configure("[process]\nworkers = 1", listeners=PLAIN)
    agent.start()
    fill(agent, load, 300)
    # A clean end, so that everything is in the database itself.
    assert agent.signal(signal.SIGTERM) == 0
    database = agent.directory / "queue" / "0" / "queue.db"
    size = database.stat().st_size
    with database.open("r+b") as file:
        if fault == "cut short":
            file.truncate(size * 2 // 3)
        else:
            for place in range(size // 4, size // 2, 40_000):
                file.seek(place // 4096 * 4096 if fault == "pages flipped" else place)
                file.write(os.urandom(64))
    content = database.read_bytes()
    agent.start()
    if fault != "flipped":  # that may have hit nothing but the content of messages
        wait_for(lambda: bool(agent.events("queue_repaired")), what="the repair")
        # The damaged database is where the log says that it is.
        assert any(path.read_bytes() == content for path in set_aside(agent)), notices(agent)
    sink.start()
    agent.command("queue", "retry", "--all", "--config", str(agent.config))
    assert submit(agent, "after", 100)[0] == 250

    def settled() -> bool:
        queue = status(agent).get("queue", {"messages": 1, "held": 0})
        return bool(queue["messages"] == queue["held"])  # a message whose content is damaged is held, and said so

    wait_for(settled, 60, "delivery of what can be read")
    arrived = Arrivals(sink.directory)
    assert "after" in arrived.times
    # What did arrive is what was sent, to the last byte.
    bodies = [path.read_bytes() for path in sink.directory.iterdir()]
    assert all(body.count(b"x" * 2000) == 1 for body in bodies if b"Subject: load" in body)
    saved = [token for token in load.acknowledged if token in arrived.times]
    assert len(saved) > len(load.acknowledged) // 10, notices(agent)
    # What did not arrive is not gone without a word: it is held, or known from a file that the log names.
    listed = agent.command("queue", "list", "--held", "--json", "--limit", "0", "--config", str(agent.config)).stdout
    held = [recipient["last_reply"] for message in json.loads(listed) for recipient in message["recipients"]]
    assert all("damaged" in each for each in held), held
    assert fault != "flipped" or held or notices(agent), "damage that nobody was told of"
    if notices(agent):
        assert any(path.name.startswith("queue.db.damaged-") for path in set_aside(agent)), notices(agent)
    else:
        assert len(held) == len(load.acknowledged) - len(saved)
    assert arrived.duplicates == {}


@pytest.mark.parametrize("fault", ["cut short", "flipped"])
def test_a_damaged_journal_is_saved_as_far_as_can_be(agent: Agent, sink: Sink, load: Load, fault: str) -> None:
    """Killed with mail in the journal, which is not what was written when the agent starts again."""
    agent.configure("[process]\nworkers = 1", listeners=PLAIN)
    with socket.create_server(("127.0.0.1", sink.port), backlog=1):  # says nothing: all mail is on its way
        agent.start()
        fill(agent, load, 300)
        children = workers(agent)
        assert agent.signal(signal.SIGKILL) == -signal.SIGKILL
        for pid in children:
            os.kill(pid, signal.SIGKILL)
    journal = agent.directory / "queue" / "0" / "journal"
    path = max(journal.glob("*.log"), key=lambda each: each.read_bytes().count(b"token-"))
    content = bytearray(path.read_bytes())
    end = content.rindex(b"x" * 2000)
    if fault == "cut short":
        del content[end * 2 // 3 :]
    else:
        for place in range(end // 4, end // 2, 40_000):
            content[place] ^= 0x55
    path.write_bytes(content)
    sink.start()
    agent.start()
    wait_for(lambda: bool(agent.events("queue_repaired")), what="the repair")
    assert any(each.read_bytes() == content for each in set_aside(agent)), notices(agent)
    assert submit(agent, "after", 100)[0] == 250
    wait_until_empty(agent)
    arrived = Arrivals(sink.directory)
    assert "after" in arrived.times
    bodies = [each.read_bytes() for each in sink.directory.iterdir()]
    assert all(body.count(b"x" * 2000) == 1 for body in bodies if b"Subject: load" in body)
    saved = [token for token in load.acknowledged if token in arrived.times]
    assert len(saved) > len(load.acknowledged) // 2, notices(agent)
    assert len(saved) < len(load.acknowledged)
    assert arrived.duplicates == {}


def test_damage_while_running_ends_only_the_worker(agent: Agent, sink: Sink, load: Load) -> None:
    agent.configure("[process]\nworkers = 1", listeners=PLAIN)
    agent.start()
    fill(agent, load, 300)
    assert agent.signal(signal.SIGTERM) == 0
    agent.start()
    before = workers(agent)
    database = agent.directory / "queue" / "0" / "queue.db"
    with database.open("r+b") as file:
        for place in range(8192, database.stat().st_size, 4096):
            file.seek(place)
            file.write(os.urandom(256))
    agent.command("queue", "list", "--limit", "0", "--config", str(agent.config))
    wait_for(lambda: bool(agent.events("queue_damaged")), what="the discovery")
    wait_for(lambda: bool(agent.events("queue_repaired")), 30, "the repair")
    assert any(path.name.startswith("queue.db.damaged-") for path in set_aside(agent)), notices(agent)
    wait_for(lambda: bool(status(agent).get("workers")) and workers(agent) != before, 30, "a new worker")
    assert not agent.ended()
    sink.start()
    assert submit(agent, "after", 100)[0] == 250
    wait_for(lambda: "after" in Arrivals(sink.directory).times, what="arrival")
