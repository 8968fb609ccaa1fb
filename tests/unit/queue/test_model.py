# SPDX-License-Identifier: GPL-3.0-or-later
"""The store against a dictionary: whatever is done in whatever order, both hold the same."""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections.abc import Awaitable, Callable
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relay_agent.queue.body import MemoryBody
from relay_agent.queue.embedded import EmbeddedStore
from relay_agent.queue.lanes import lane_of
from relay_agent.queue.model import Counts, Envelope, Message, Recipient, RecipientState, Update, new_queue_id
from tests.unit.queue.messages import large

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
OPTIONS = st.dictionaries(st.sampled_from(["NOTIFY", "ORCPT", "RET"]), TEXT, max_size=2)
RECIPIENTS = st.builds(
    Recipient,
    address=TEXT,
    options=OPTIONS,
    state=st.sampled_from(RecipientState),
    attempts=st.integers(0, 50),
    next_attempt=st.integers(0, 50).map(float),
    last_attempt=st.none() | st.floats(0, 1e10),
    last_status=TEXT,
    last_reply=TEXT,
    last_host=TEXT,
)
ENVELOPES = st.builds(Envelope, reverse_path=TEXT, account=st.none() | TEXT, options=OPTIONS)


@dataclass
class Expected:
    """What the store should hold: messages with their content, in the order they were stored."""

    messages: dict[str, Message] = field(default_factory=dict)
    contents: dict[str, bytes] = field(default_factory=dict)

    def add(self, message: Message) -> None:
        """Like `store`."""
        self.contents[message.queue_id] = message.body.read()
        self.messages[message.queue_id] = deepcopy(message)

    def update(self, update: Update) -> None:
        """Like `record`, for one."""
        message = self.messages.get(update.queue_id)
        if message is None or update.number not in message.recipients:
            return
        if update.recipient is None:
            del message.recipients[update.number]
            if not message.recipients:
                del self.messages[update.queue_id]
        else:
            held = message.recipients[update.number].state is RecipientState.HELD
            state = RecipientState.HELD if held else update.recipient.state
            message.recipients[update.number] = replace(update.recipient, state=state)

    def due(self, now: float) -> dict[str, dict[int, Recipient]]:
        """Like `due` without a limit."""
        found = {
            queue_id: {
                number: recipient
                for number, recipient in message.recipients.items()
                if recipient.state is RecipientState.WAITING and recipient.next_attempt <= now
            }
            for queue_id, message in self.messages.items()
        }
        return {queue_id: recipients for queue_id, recipients in found.items() if recipients}

    def counts(self) -> Counts:
        """Like `counts`."""
        recipients = [r for message in self.messages.values() for r in message.recipients.values()]
        return Counts(
            len(self.messages),
            len(recipients),
            sum(r.state is RecipientState.HELD for r in recipients),
            sum(len(self.contents[queue_id]) for queue_id in self.messages),
        )


class Trial:
    """One random history, run against the store and the dictionary."""

    def __init__(self, directory: Path, data: st.DataObject) -> None:
        self.directory = directory
        self.data = data
        self.expected = Expected()
        self.store = EmbeddedStore(directory)
        self.random = random.Random(data.draw(st.integers(0, 1 << 30)))

    def some_ids(self) -> list[str]:
        """Ids of messages there are, and one there is not."""
        ids = list(self.expected.messages)  # in the order they came: drawn again, a history is to be the same
        return [*self.random.sample(ids, min(len(ids), self.random.randint(0, 3))), "unknown"]

    def new_message(self) -> Message:
        """Any message, now and then with a body in a file."""
        draw = self.data.draw
        message = large(self.store.spool_directory(), 2000)
        if draw(st.integers(0, 4)):
            message.body.discard()  # type: ignore[attr-defined]
            message.body = MemoryBody(draw(st.binary(max_size=50)))
        message.queue_id = new_queue_id()
        message.envelope = draw(ENVELOPES)
        numbers = draw(st.lists(st.integers(0, 1000), min_size=1, max_size=4, unique=True))
        message.recipients = {number: draw(RECIPIENTS) for number in sorted(numbers)}
        return message

    def some_updates(self) -> list[Update]:
        """Outcomes of recipients there are and of some there are not."""
        updates = []
        for queue_id in self.some_ids():
            message = self.expected.messages.get(queue_id)
            numbers = sorted(message.recipients) if message else [0]
            for number in self.random.sample(numbers, self.random.randint(1, len(numbers))):
                outcome = None if self.random.random() < 0.6 else self.data.draw(RECIPIENTS)
                updates.append(Update(queue_id, number, outcome))
        return updates

    async def step(self) -> None:
        """One operation of each side."""
        match self.random.choice(["store", "store", "store", "record", "record", "delete", "hold", "reopen", "burst"]):
            case "store":
                message = self.new_message()
                self.expected.add(message)
                await self.store.store(message)
            case "record":
                updates = self.some_updates()
                bounces = [self.new_message()] if self.random.random() < 0.3 else []
                for update in updates:
                    self.expected.update(update)
                for bounce in bounces:
                    self.expected.add(bounce)
                await self.store.record(updates, bounces)
            case "delete":
                ids = self.some_ids()
                count = sum(self.expected.messages.pop(queue_id, None) is not None for queue_id in ids)
                assert await self.store.delete(ids) == count
            case "hold":
                ids = self.some_ids()
                count = 0
                for queue_id in ids:
                    for recipient in getattr(self.expected.messages.get(queue_id), "recipients", {}).values():
                        count += recipient.state is RecipientState.WAITING
                        recipient.state = RecipientState.HELD
                assert await self.store.hold(ids) == count
            case "reopen":
                await self.store.close()
                self.store = EmbeddedStore(self.directory)
                assert self.store.notices == []
            case "burst":
                # All in one batch: the order of the calls is the order of the effects.
                calls: list[Callable[[], Awaitable[None]]] = []
                for _ in range(6):
                    if self.random.random() < 0.5:
                        message = self.new_message()
                        if not isinstance(message.body, MemoryBody):
                            message.body.discard()  # type: ignore[attr-defined]
                            message.body = MemoryBody(b"in a burst")
                        self.expected.add(message)
                        calls.append(partial(self.store.store, message))
                    else:
                        updates = self.some_updates()
                        for update in updates:
                            self.expected.update(update)
                        calls.append(partial(self.store.record, updates))
                await asyncio.gather(*(call() for call in calls))

    async def compare(self) -> None:
        """Everything that can be asked for."""
        expected = self.expected
        assert await self.store.counts() == expected.counts()
        listed = await self.store.list()
        assert [m.queue_id for m in listed] == sorted(expected.messages)
        for found in listed:
            wanted = expected.messages[found.queue_id]
            assert found.recipients == wanted.recipients
            assert list(found.recipients) == sorted(found.recipients)
            assert (found.envelope, found.created, found.expires) == (wanted.envelope, wanted.created, wanted.expires)
            assert found.body.read() == expected.contents[found.queue_id]
        files = {path.name for path in (self.directory / "0" / "bodies").iterdir()}
        in_files = {queue_id for queue_id, m in expected.messages.items() if not isinstance(m.body, MemoryBody)}
        assert files == in_files
        now = float(self.random.randint(0, 50))
        due = expected.due(now)
        exclude = frozenset(self.random.sample(list(due), self.random.randint(0, len(due))))
        found_due = await self.store.due(now, 1000, exclude=exclude)
        assert {m.queue_id: m.recipients for m in found_due} == {q: r for q, r in due.items() if q not in exclude}
        lanes: dict[int, list[float]] = {}
        for m in found_due:
            lanes.setdefault(lane_of(m.envelope), []).append(min(r.next_attempt for r in m.recipients.values()))
        assert all(firsts == sorted(firsts) for firsts in lanes.values())
        later = [
            r.next_attempt
            for m in expected.messages.values()
            for r in m.recipients.values()
            if r.state is RecipientState.WAITING and r.next_attempt > now
        ]
        assert await self.store.next_due(after=now) == min(later, default=None)


@settings(max_examples=25, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_the_store_holds_what_a_dictionary_would(data: st.DataObject) -> None:
    async def run(directory: Path) -> None:
        trial = Trial(directory, data)
        try:
            for _ in range(data.draw(st.integers(1, 12))):
                await trial.step()
                await trial.compare()
        finally:
            await trial.store.close()

    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(run(Path(directory)))
