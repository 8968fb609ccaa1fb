# SPDX-License-Identifier: GPL-3.0-or-later
"""A worker's part, without the processes around it."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from relay_agent.accounts.store import Account
from relay_agent.config.schema import Config
from relay_agent.delivery.outcome import Deferred, Delivered, Failed, Outcome
from relay_agent.observability.log import EventLog
from relay_agent.queue.body import MemoryBody
from relay_agent.queue.model import Envelope, Message, Recipient, new_queue_id
from relay_agent.submission.address import PathError
from relay_agent.suppression import desk as module
from relay_agent.suppression.book import Book
from relay_agent.suppression.desk import SuppressionDesk
from relay_agent.suppression.entry import Cause, Entry
from tests.feedback import feedback_report

ACCOUNTS = {"newsletter": Account(name="newsletter", hash="", addresses=("news@alpha.test",))}
UNKNOWN = Failed("5.1.1", "550 5.1.1 User unknown", "mx.beta.test")


class Events(EventLog):
    def __init__(self) -> None:
        self.seen: list[tuple[str, dict[str, Any]]] = []

    def event(self, name: str, *, level: str = "info", **fields: object) -> None:
        self.seen.append((name, {"level": level, **fields}))


class World:
    """A desk, and what it has said."""

    def __init__(self, directory: Path, **suppression: Any) -> None:
        self.config = Config.model_validate(
            {
                "hostname": "relay.test",
                "listener": [{"port": 2525, "tls": "none", "auth": "none"}],
                "submission": {"trusted_networks": ["127.0.0.0/8"]},
                "queue": {"directory": str(directory)},
                "suppression": {"mode": "refuse", "report_address": "FBL@relay.test", **suppression},
            }
        )
        self.log = Events()
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.trouble: Exception | None = None
        self.desk = SuppressionDesk(
            self.config, self.log, lambda: ACCOUNTS, lambda name, **said: self.told.append((name, said)), self.ask
        )

    async def ask(self, name: str, **said: Any) -> None:
        if self.trouble is not None:
            raise self.trouble
        self.asked.append((name, said))

    def refusal(self, address: str, account: str | None = "newsletter") -> str:
        try:
            self.desk.check(address, account)
        except PathError as error:
            return str(error)
        return ""


def message(content: bytes = b"", account: str | None = "newsletter", sender: str = "news@alpha.test") -> Message:
    now = time.time()
    recipients = {0: Recipient("bob@beta.test"), 1: Recipient("carol@beta.test")}
    return Message(new_queue_id(), Envelope(sender, account), recipients, MemoryBody(content), now, now + 60)


def entry(cause: Cause = Cause.BOUNCE, reason: str = "550 5.1.1 User unknown", address: str = "bob@beta.test") -> Entry:
    return Entry(address, "newsletter", cause, reason, 1.7e9, 1.7e9 if cause is Cause.MANUAL else time.time())


async def heard(world: World, changes: Sequence[Entry]) -> None:
    await world.desk.load()
    world.desk.hear([each.record() for each in changes])


@pytest.mark.parametrize(
    ("cause", "status", "words"),
    [
        (Cause.BOUNCE, "550 5.1.1 ", "has bounced on 20"),
        (Cause.COMPLAINT, "550 5.7.1 ", "has complained of your mail on 20"),
        (Cause.MANUAL, "550 5.7.1 ", "is not to be written to since 2023-11-14"),
    ],
)
async def test_the_refusal_says_why_and_how_to_lift_it(tmp_path: Path, cause: Cause, status: str, words: str) -> None:
    world = World(tmp_path)
    await heard(world, [entry(cause)])
    reply = world.refusal("Bob@beta.test")
    assert reply.startswith(status)
    assert words in reply
    assert "relay-agent suppression remove" in reply
    assert world.refusal("carol@beta.test") == ""
    assert world.log.seen[0][1]["refused"] is True


async def test_a_reply_is_one_short_line_of_ascii(tmp_path: Path) -> None:
    world = World(tmp_path)
    address = f"{'ü' * 60}@{'b' * 60}.{'c' * 60}.test"
    await heard(world, [entry(reason="ß" * 200, address=address)])
    reply = world.refusal(address)
    assert reply.isascii()
    assert reply.isprintable()
    assert len(reply) < 500


async def test_a_warning_lets_it_pass(tmp_path: Path) -> None:
    world = World(tmp_path, mode="warn")
    await heard(world, [entry()])
    assert world.refusal("bob@beta.test") == ""
    assert world.log.seen[0][0] == "recipient_suppressed"
    assert world.log.seen[0][1]["refused"] is False


async def test_off_is_off(tmp_path: Path) -> None:
    world = World(tmp_path, mode="off")
    await heard(world, [entry()])
    assert world.refusal("bob@beta.test") == ""
    world.desk.learn(message(), {0: UNKNOWN}, by_own_host=True)
    assert world.told == []
    outcome = await world.desk.take(message(feedback_report()))
    assert isinstance(outcome, Delivered)  # never sent on: it would come back
    assert world.asked == []


async def test_what_is_told_while_the_file_is_read_comes_after_it(tmp_path: Path) -> None:
    world = World(tmp_path)
    book = Book(world.config)
    book.load(0)
    book.bounced("bob@beta.test", "newsletter", "550 5.1.1 old", "", time.time())
    world.desk.hear([each.record() for each in book.remove("bob@beta.test")])
    world.desk.hear([entry(address="carol@beta.test").record()])
    await world.desk.load()
    assert world.refusal("bob@beta.test") == ""
    assert world.refusal("carol@beta.test")


async def test_a_file_that_cannot_be_read_stops_no_mail(tmp_path: Path) -> None:
    world = World(tmp_path, file=str(tmp_path))
    await world.desk.load()
    assert world.refusal("bob@beta.test") == ""
    assert world.log.seen[0][0] == "suppression_unreadable"


def test_only_trusted_hosts_hand_over_reports(tmp_path: Path) -> None:
    world = World(tmp_path, report_accounts=["MX"])
    assert world.refusal("fbl@relay.test", None) == ""
    assert world.refusal("fbl@relay.test", "mx") == ""
    assert world.refusal("fbl@Relay.test").startswith("550 5.7.1 ")
    assert world.desk.takes("fbl@RELAY.test")
    assert not world.desk.takes("bob@beta.test")
    assert not World(tmp_path, report_address="").desk.takes("")


async def test_bounces_are_told_with_their_account(tmp_path: Path) -> None:
    world = World(tmp_path)
    outcomes: dict[int, Outcome] = {0: UNKNOWN, 1: Delivered("2.0.0", "250 ok", "mx.beta.test"), 9: UNKNOWN}
    world.desk.learn(message(), outcomes, by_own_host=True)
    assert world.told == [
        (
            "suppression.learned",
            {
                "owner": "newsletter",
                "sender": "news@alpha.test",
                "bounced": [["bob@beta.test", "550 5.1.1 User unknown"]],
                "delivered": [],
            },
        )
    ]
    world.desk.learn(message(account=""), outcomes, by_own_host=True)
    assert world.told[1][1]["owner"] == "trusted network"


async def test_bounces_of_bounces_and_of_smarthosts_teach_nothing(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.desk.learn(message(), {0: UNKNOWN}, by_own_host=False)
    world.desk.learn(message(account=None, sender=""), {0: UNKNOWN}, by_own_host=True)
    world.desk.learn(message(sender=""), {0: UNKNOWN}, by_own_host=True)
    assert world.told == []


async def test_mail_that_arrives_lifts_a_bounce(tmp_path: Path) -> None:
    world = World(tmp_path, mode="warn")
    await heard(world, [entry(), entry(Cause.COMPLAINT, address="carol@beta.test")])
    well = Delivered("2.0.0", "250 ok", "mx.beta.test")
    world.desk.learn(message(), {0: well, 1: well}, by_own_host=True)
    assert [said["delivered"] for _, said in world.told] == [["bob@beta.test"]]


async def test_a_report_is_recorded_before_it_is_done(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.trouble = TimeoutError("no answer")
    outcome = await world.desk.take(message(feedback_report()))
    assert isinstance(outcome, Deferred)
    assert not outcome.hold
    assert not outcome.fault
    world.trouble = None
    assert isinstance(await world.desk.take(message(feedback_report())), Delivered)
    ((name, said),) = world.asked
    assert name == "suppression.complained"
    assert (said["recipients"], said["owner"]) == (["bob@beta.test"], "newsletter")


async def test_another_kind_of_report_is_noted(tmp_path: Path) -> None:
    world = World(tmp_path)
    assert isinstance(await world.desk.take(message(feedback_report(kind="not-spam"))), Delivered)
    assert world.asked == []
    assert world.log.seen[-1][1]["result"] == "noted"


async def test_what_cannot_be_used_is_held_up_to_a_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_HELD", 2)
    world = World(tmp_path)
    held = [await world.desk.take(message(b"Subject: buy\r\n\r\n")) for _ in range(3)]
    assert [isinstance(each, Deferred) and each.hold for each in held] == [True, True, False]
    assert isinstance(held[0], Deferred)
    assert "not a report" in held[0].text
    assert isinstance(held[2], Delivered)
    assert world.log.seen[-1][1]["result"] == "dropped"


async def test_a_body_that_is_gone_is_a_fault_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(_: Message) -> bytes:
        raise OSError("gone")

    monkeypatch.setattr(module, "_beginning", gone)
    outcome = await World(tmp_path).desk.take(message())
    assert isinstance(outcome, Deferred)
    assert outcome.fault
