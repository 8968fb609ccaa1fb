# SPDX-License-Identifier: GPL-3.0-or-later
"""A full disk, and a database that is not what was written: refused in words, saved as far as can be, never deleted."""

from __future__ import annotations

import contextlib
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

from relay_agent.control.client import ControlClient
from relay_agent.control.protocol import ControlError

from .conftest import PLAIN, Agent, Sink, status, wait_for, wait_until_empty, workers
from .load import Arrivals, Load


@pytest.fixture
def small_disk(agent: Agent, request: pytest.FixtureRequest) -> Iterator[Path]:
    """The queue's directory on a file system of its own with 80 MB, or as many as the test says."""
    queue = agent.directory / "queue"
    queue.mkdir()
    options = f"size={getattr(request, 'param', 80)}m,mode=700"
    if subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(queue)]).returncode:
        pytest.skip("needs root for a file system of its own")
    yield queue
    if not agent.ended():
        agent.kill_all()
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


class Filler:
    """A file that takes all the room that a disk has."""

    def __init__(self, disk: Path) -> None:
        self.path = disk / "filler"
        with self.path.open("wb", buffering=0) as file:
            for block in (65_536, 512):
                with contextlib.suppress(OSError):
                    while file.write(bytes(block)):
                        pass

    def remove(self) -> None:
        self.path.unlink()


def greeting(agent: Agent) -> bytes:
    with socket.create_connection(("127.0.0.1", agent.starttls), 5) as client:
        client.settimeout(5)
        try:
            return client.recv(4)
        except TimeoutError:
            return b""


@pytest.fixture
def silent_hop(sink: Sink) -> Iterator[socket.socket]:
    """In the sink's place until it is closed: mail is on its way to it, and so in the journal."""
    with socket.create_server(("127.0.0.1", sink.port), backlog=50) as hop:
        yield hop


def begin_with_mail_on_its_way(agent: Agent, workers: int = 1) -> list[str]:
    """Start the agent and give it mail. Returns the tokens."""
    agent.configure(f"[process]\nworkers = {workers}", listeners=PLAIN)
    agent.start()
    tokens = [f"w{number}" for number in range(30)]
    assert [submit(agent, token, 200_000)[0] for token in tokens] == [250] * 30
    return tokens


def all_arrive(agent: Agent, sink: Sink, silent_hop: socket.socket, tokens: list[str]) -> None:
    """Everything that was accepted, and what is sent now."""
    silent_hop.close()
    sink.start()
    wait_for(lambda: greeting(agent) == b"220 ", 30, "a greeting")
    assert submit(agent, "after", 100)[0] == 250
    agent.command("queue", "retry", "--all", "--config", str(agent.config))
    wait_until_empty(agent)
    arrivals = Arrivals(sink.directory)
    assert set(arrivals.times) == {*tokens, "after"}
    # The next hop took nothing until then.
    assert not arrivals.duplicates


@pytest.mark.parametrize("count", [1, 2])
def test_a_worker_that_dies_while_the_disk_is_full_is_replaced(
    agent: Agent, sink: Sink, silent_hop: socket.socket, small_disk: Path, count: int
) -> None:
    tokens = begin_with_mail_on_its_way(agent, count)
    before = workers(agent)
    filler = Filler(small_disk)
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: len(agent.events("worker_not_started")) > 2 * count, 30, "some attempts")
    said = agent.command("queue", "list", "--config", str(agent.config))
    assert "is open in no worker: " in said.stderr  # and the reason, in SQLite's words or the system's
    assert "it is opened as soon as that has passed" in said.stderr
    assert not agent.ended()
    filler.remove()
    all_arrive(agent, sink, silent_hop, tokens)
    # The second one looks for room every ten seconds, and all mail may have left before it does.
    wait_for(lambda: len(status(agent).get("workers", [])) == count, 40, "all workers")
    assert status(agent)["waiting"] == ""


@pytest.mark.parametrize("small_disk", [300], indirect=True)
def test_mail_leaves_a_full_disk_after_a_worker_died(
    agent: Agent, sink: Sink, silent_hop: socket.socket, small_disk: Path
) -> None:
    """What the journal has in reserve is room enough to carry on."""
    tokens = begin_with_mail_on_its_way(agent)
    wait_for(lambda: len(list((small_disk / "0" / "journal").glob("spare-*"))) == 2, what="spare segments")
    Filler(small_disk)
    silent_hop.close()
    sink.start()
    os.kill(workers(agent)[0], signal.SIGKILL)
    wait_until_empty(agent)
    arrivals = Arrivals(sink.directory)
    assert set(arrivals.times) == set(tokens)
    assert not arrivals.duplicates


def test_an_agent_killed_on_a_full_disk_waits_for_room(
    agent: Agent, sink: Sink, silent_hop: socket.socket, small_disk: Path
) -> None:
    """Ended for it, it would use up the starts that systemd allows, and be down when there is room again."""
    tokens = begin_with_mail_on_its_way(agent)
    agent.kill_all()  # what they had open and removed is room now
    filler = Filler(small_disk)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(f"{agent.directory}/notify")
        systemd.settimeout(60)
        agent.environment["NOTIFY_SOCKET"] = f"{agent.directory}/notify"
        agent.launch()
        said = systemd.recv(4096).decode()
        assert said.startswith("READY=1\nSTATUS=Waits, with 0 workers"), said
        time.sleep(3)
        assert not agent.ended()
        with pytest.raises(ControlError, match="the reload is done when the workers have started, and they wait: "):
            ControlClient(agent.directory / "control.sock", timeout=30).call("reload")
        filler.remove()
        all_arrive(agent, sink, silent_hop, tokens)
        while "Taking mail" not in said:
            said = systemd.recv(4096).decode()
    assert agent.events("started")


def test_a_reload_on_a_full_disk_is_done_when_there_is_room(
    agent: Agent, sink: Sink, silent_hop: socket.socket, small_disk: Path
) -> None:
    tokens = begin_with_mail_on_its_way(agent)
    (before,) = workers(agent)
    filler = Filler(small_disk)
    agent.signal(signal.SIGHUP)
    wait_for(lambda: len(agent.events("worker_not_started")) > 2, 30, "some attempts")
    now = status(agent)
    assert now["reloads"]["refused"] == 1
    assert now["waiting"]
    assert now["waiting"] in now["reloads"]["problems"][0]
    # Those of before go on, with what their journal has in reserve.
    assert [each["pid"] for each in now["workers"]] == [before]
    assert submit(agent, "meanwhile", 100)[0] == 250
    tokens.append("meanwhile")
    filler.remove()
    wait_for(lambda: bool(agent.events("reloaded")), 30, "the reload")
    all_arrive(agent, sink, silent_hop, tokens)
    assert before not in workers(agent)
    assert status(agent)["reloads"] == {"done": 1, "refused": 1, "problems": []}


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


def test_a_damaged_database_waits_for_room_to_be_saved(
    agent: Agent, sink: Sink, silent_hop: socket.socket, small_disk: Path
) -> None:
    """Not begun, and said with the numbers, until there is room for all of it."""
    tokens = begin_with_mail_on_its_way(agent)
    assert agent.signal(signal.SIGTERM) == 0
    store = small_disk / "0"
    with (store / "queue.db").open("r+b") as file:  # the index of queue ids: its root is a page further each
        file.seek(4 * 4096)
        file.write(os.urandom(4096))
    content = (store / "queue.db").read_bytes()
    assert len(content) > 6_000_000
    for spare in (store / "journal").glob("spare-*"):
        spare.unlink()
    filler = Filler(small_disk)
    os.truncate(filler.path, filler.path.stat().st_size - (1 << 20))  # for SQLite to begin at all
    agent.launch()
    wait_for(lambda: bool(agent.events("worker_not_started")), 30, "an attempt")
    said = agent.command("status", "--config", str(agent.config)).stdout
    assert "waits, and starts a worker once that has passed" in said
    assert re.search(r"queue\.db is damaged: .*needs [67]\.\d MiB in .*, and the disk has [01]\.\d MiB free", said)
    assert (store / "queue.db").read_bytes() == content
    assert not [*store.glob("*.damaged-*"), *store.glob("repair*")]
    filler.remove()
    all_arrive(agent, sink, silent_hop, tokens)
    assert any(path.read_bytes() == content for path in set_aside(agent)), notices(agent)


@pytest.mark.parametrize("fault", ["cut short", "flipped"])
def test_a_damaged_journal_is_saved_as_far_as_can_be(agent: Agent, sink: Sink, load: Load, fault: str) -> None:
    """Killed with mail in the journal, which is not what was written when the agent starts again."""
    agent.configure("[process]\nworkers = 1", listeners=PLAIN)
    with socket.create_server(("127.0.0.1", sink.port), backlog=1):  # says nothing: all mail is on its way
        agent.start()
        fill(agent, load, 300)
        agent.kill_all()
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
