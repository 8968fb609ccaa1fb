# SPDX-License-Identifier: GPL-3.0-or-later
import io
from pathlib import Path

from relay_agent.config.load import parse_config
from relay_agent.history.finder import Wanted, find
from relay_agent.history.keeping import begin_history, history_directory
from relay_agent.history.segments import segments
from relay_agent.observability.log import MailLog

CONFIG = """
hostname = "relay.test"
[[listener]]
address = "127.0.0.1"
port = 2587
tls = "none"
[queue]
directory = "{queue}"
"""


def test_the_logs_events_of_messages_are_kept_and_others_not(tmp_path: Path) -> None:
    config = parse_config(CONFIG.format(queue=tmp_path), "agent.toml")
    log = MailLog(io.StringIO(), text=True)
    history = begin_history(config, log)
    assert history is not None
    log.message_event("accepted", {"to": ["bob@beta.test"]}, queue_id="A", sender="alice@alpha.test", recipients=1)
    log.event("started", version="1")
    log.event("connected", level="debug", queue_id="B")
    history.close()
    (found,) = find(history_directory(config), Wanted(recipient="bob@beta.test"))
    assert found["events"][0]["recipients"] == 1
    assert find(history_directory(config), Wanted(queue_id="B")) == []


def test_without_history_nothing_is_kept_and_the_past_is_forgotten(tmp_path: Path) -> None:
    config = parse_config(CONFIG.format(queue=tmp_path), "agent.toml")
    log = MailLog(io.StringIO())
    history = begin_history(config, log)
    assert history is not None
    log.event("delivered", queue_id="A")
    history.close()
    assert len(segments(history_directory(config))) == 1
    off = parse_config(CONFIG.format(queue=tmp_path) + "[history]\nenabled = false\n", "agent.toml")
    other = MailLog(io.StringIO())
    assert begin_history(off, other) is None
    assert other.history is None
    assert segments(history_directory(config)) == []
