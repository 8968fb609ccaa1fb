# SPDX-License-Identifier: GPL-3.0-or-later
import asyncio
import io
import json
import logging

from relay_agent.observability.log import EventLog, MailLog, route_standard_logging


def test_a_line_of_json_an_event() -> None:
    stream = io.StringIO()
    MailLog(stream).event("accepted", queue_id="Q1", account=None, peer="a\r\nb\x1b[0m")
    record = json.loads(stream.getvalue())
    assert stream.getvalue().count("\n") == 1
    assert record["event"] == "accepted"
    assert record["peer"] == "a\r\nb\x1b[0m"
    assert "account" not in record
    assert record["level"] == "info"
    assert isinstance(record["ts"], float)


def test_text_for_a_person_is_one_line_without_controls() -> None:
    stream = io.StringIO()
    MailLog(stream, text=True).event("accepted", level="warning", peer="a\r\nb\x1b[0m", reply="two words", size=3)
    line = stream.getvalue()
    assert line.count("\n") == 1
    assert line.rstrip("\n").isprintable()
    assert line.endswith('warning: accepted peer="a\\r\\nb\\u001b[0m" reply="two words" size=3\n')


async def test_events_of_one_turn_are_one_write() -> None:
    class Counting(io.StringIO):
        writes = 0

        def write(self, text: str) -> int:
            self.writes += 1
            return super().write(text)

    stream = Counting()
    log = MailLog(stream)
    for _ in range(3):
        log.event("accepted")
    log.event("detail", level="debug")
    assert stream.writes == 0
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert (stream.writes, stream.getvalue().count("\n")) == (1, 3)


def test_a_closed_stream_does_not_raise() -> None:
    stream = io.StringIO()
    log = MailLog(stream)
    stream.close()
    log.event("accepted")


def test_library_warnings_arrive() -> None:
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    stream = io.StringIO()
    try:
        route_standard_logging(MailLog(stream))
        logging.getLogger("asyncio").warning("slow %s", "callback")
        logging.getLogger("mail.log").warning("AUTH PLAIN secret")
    finally:
        root.handlers[:] = before
        root.setLevel(level)
        logging.captureWarnings(False)
    record = json.loads(stream.getvalue())
    assert (record["event"], record["logger"], record["message"]) == ("library", "asyncio", "slow callback")


def test_the_history_gets_events_of_messages_and_what_the_log_has_no_line_for() -> None:
    kept: list[str] = []
    for text in (False, True):
        stream = io.StringIO()
        log = MailLog(stream, text=text)
        log.history = kept.append
        log.event("started", version="1")
        log.event("connected", level="debug", queue_id="A")
        log.event("delivered", queue_id="A", recipient="bob@beta.test", host=None)
        log.message_event("accepted", {"to": ["bob@beta.test"]}, queue_id="A", recipients=1)
        assert '"to"' not in stream.getvalue()
        assert "accepted" in stream.getvalue()
    assert [json.loads(line)["event"] for line in kept] == ["delivered", "accepted"] * 2
    assert json.loads(kept[1])["to"] == ["bob@beta.test"]
    assert "host" not in json.loads(kept[0])


def test_a_log_without_history_logs_such_events_like_others() -> None:
    seen: list[tuple[str, dict[str, object]]] = []

    class Log(EventLog):
        def event(self, name: str, *, level: str = "info", **fields: object) -> None:
            seen.append((name, fields))

    Log().message_event("accepted", {"to": ["bob@beta.test"]}, queue_id="A")
    assert seen == [("accepted", {"queue_id": "A"})]
