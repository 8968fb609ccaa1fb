# SPDX-License-Identifier: GPL-3.0-or-later
"""The supervisor's book: every change is told, and a disk that refuses stops nothing."""

from pathlib import Path
from typing import Any

import pytest

from relay_agent.config.schema import Config
from relay_agent.control.protocol import ControlError
from relay_agent.observability.log import EventLog
from relay_agent.supervisor.suppressing import Suppressing


class Events(EventLog):
    def __init__(self) -> None:
        self.seen: list[str] = []

    def event(self, name: str, *, level: str = "info", **fields: object) -> None:
        self.seen.append(name)


class World:
    def __init__(self, directory: Path, **suppression: Any) -> None:
        config = Config.model_validate(
            {
                "hostname": "relay.test",
                "listener": [{"port": 2525, "tls": "none", "auth": "none"}],
                "queue": {"directory": str(directory)},
                "suppression": {"mode": "refuse", **suppression},
            }
        )
        self.log = Events()
        self.told: list[dict[str, Any]] = []
        self.suppressing = Suppressing(config, self.log, self.told.extend)
        self.suppressing.load()

    def bounce(self, owner: str = "alice", delivered: tuple[str, ...] = ()) -> None:
        bounced = [] if delivered else [["bob@beta.test", "550 5.1.1 no"]]
        self.suppressing.learned(
            {"owner": owner, "sender": "a@alpha.test", "bounced": bounced, "delivered": list(delivered)}
        )


COMPLAINT = {"recipients": ["bob@beta.test"], "owner": "", "reason": "abuse", "sender": ""}


async def test_what_a_worker_has_learned_is_told(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.bounce()
    assert [(each["address"], each["owner"]) for each in world.told] == [("bob@beta.test", "alice")]
    world.bounce("carol", ("bob@beta.test",))
    assert len(world.told) == 1  # alice has met it, not carol
    world.bounce("alice", ("bob@beta.test",))
    assert world.told[1]["removed"] is True
    assert world.log.seen == ["suppressed"]
    world.suppressing.close()


async def test_on_the_whole_host_anybodys_mail_lifts_it(tmp_path: Path) -> None:
    world = World(tmp_path, scope="host")
    world.bounce()
    world.bounce("carol", ("bob@beta.test",))
    assert world.told[1]["removed"] is True


async def test_a_complaint_is_on_the_disk_before_it_is_answered(tmp_path: Path) -> None:
    world = World(tmp_path)
    await world.suppressing.complained(COMPLAINT)
    assert "complaint" in (tmp_path / "suppression.jsonl").read_text()
    assert world.told[0]["cause"] == "complaint"


async def test_a_disk_that_refuses_is_said_once(tmp_path: Path) -> None:
    world = World(tmp_path / "missing")
    world.bounce()
    world.bounce("carol")
    with pytest.raises(ControlError, match="cannot be written"):
        await world.suppressing.complained(COMPLAINT)
    assert world.log.seen == ["suppression_not_written"]
    with pytest.raises(ControlError, match="No such file"):
        await world.suppressing.handlers()["suppression.add"]({"address": "x@beta.test", "account": "", "reason": ""})


async def test_the_commands_tell_the_workers(tmp_path: Path) -> None:
    world = World(tmp_path)
    handlers = world.suppressing.handlers()
    added = await handlers["suppression.add"]({"address": "Bob@beta.test", "account": "", "reason": "by phone"})
    assert added["entry"]["address"] == "bob@beta.test"
    assert "changes" not in added
    assert await handlers["suppression.remove"]({"address": "bob@beta.test"}) == {"removed": 1}
    assert [each.get("removed", False) for each in world.told] == [False, True]


async def test_a_file_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    assert World(tmp_path, file=str(tmp_path)).log.seen == ["suppression_not_written"]
    (tmp_path / "suppression.jsonl").write_text("rubbish\n")
    assert World(tmp_path).log.seen == ["suppression_repaired"]
    world = World(tmp_path)
    world.suppressing.start()
    world.suppressing.close()
