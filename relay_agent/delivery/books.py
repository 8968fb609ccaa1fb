# SPDX-License-Identifier: GPL-3.0-or-later
"""The messages in hand, and what becomes of their recipients: into the queue, the log and the news for senders."""

from __future__ import annotations

import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from relay_agent.config.schema import Config
from relay_agent.delivery.clock import ClockWatch
from relay_agent.delivery.hand import FAULT, Hand
from relay_agent.delivery.loader import Loader
from relay_agent.delivery.outcome import Deferred, Outcome
from relay_agent.delivery.recorder import Recorder
from relay_agent.delivery.reply import printable
from relay_agent.delivery.tasks import Tasks
from relay_agent.delivery.transaction import ContentError
from relay_agent.dkim.signer import Signer
from relay_agent.observability import measured
from relay_agent.observability.log import EventLog
from relay_agent.queue.model import Message, QueueStore, Recipient, RecipientState, Update

__all__ = ["Books"]

_QUARANTINED_SHOWN = 20


class Books:
    """Who is in hand, and the way back into the queue. submit: takes the news that a message caused."""

    def __init__(
        self,
        config: Config,
        store: QueueStore,
        log: EventLog,
        signer: Signer | None,
        submit: Callable[[Message], None],
    ) -> None:
        self.config = config
        self.hands: dict[str, Hand] = {}
        self.tasks = Tasks(lambda error: self.log_fault(None, error))
        self.recorder = Recorder(store, log)
        self.clock = ClockWatch(store, log)
        self.loader: Loader
        self._log = log
        self._signer = signer
        self._submit = submit
        self.quarantined: deque[dict[str, Any]] = deque(maxlen=_QUARANTINED_SHOWN)  # the latest, for the status

    def decided(self, message: Message, outcomes: Mapping[int, Outcome], started: float) -> None:
        """As `conclude`, in the background."""
        self.tasks.spawn(self.conclude(message, outcomes, started))

    async def conclude(self, message: Message, outcomes: Mapping[int, Outcome], started: float) -> None:
        """Have these outcomes recorded. started: when the attempt began, seconds since the epoch."""
        hand = self.hands.get(message.queue_id)
        if hand is None:
            return
        concerned = set(outcomes)
        try:
            updates = hand.decide(outcomes, self.config, self._log, started)
            news = await hand.notices(self.config, self._log)
            if not hand.undecided:
                concerned |= hand.failed  # the bounce is theirs, too, whenever they were decided
                more, bounces = await hand.failures(self.config, self._log)
                updates += more
                news += bounces
            if self._signer is not None:
                for each in news:
                    each.body = await self._signer.signed(each.body, each.queue_id)
        except Exception as error:
            # Tried on, it would come back as due again and again, and each time send what was delivered already.
            self.log_fault(message.queue_id, error)
            self._quarantine(message, f"{type(error).__name__}: {error}")
            self._put([hand.held(number, str(error)) for number in sorted(concerned & hand.unrecorded)])
            return
        for update in updates:
            outcome = outcomes.get(update.number)
            faulty = isinstance(outcome, Deferred) and outcome.fault
            if faulty and update.recipient is not None and update.recipient.state is RecipientState.HELD:
                self._quarantine(message, update.recipient.last_reply)
        self._put(updates, news)

    def shelve(self, message: Message, recipients: Iterable[int], seconds: float) -> bool:
        """Have these recipients wait on the disk for a while, without an attempt: their destination is slow, and
        memory is for what can go. False when they have to be tried now, as they expire."""
        hand = self.hands.get(message.queue_id)
        due = min(time.time() + seconds, message.expires)
        if hand is None or due <= time.time():
            return False
        measured.SHELVED.add()
        self._put(hand.postponed(recipients, due))
        return True

    def _put(self, updates: Sequence[Update], news: Sequence[Message] = ()) -> None:
        if not updates:
            return
        self.clock.note()
        queue_id = updates[0].queue_id
        stored = list(news)  # together with the updates

        def recorded() -> None:
            self.release(queue_id, [update.number for update in updates])
            due = min((each.recipient.next_attempt for each in updates if each.recipient is not None), default=None)
            if due is not None:
                self.loader.expect(due)
            for each in stored:
                self._submit(each)

        def refused(error: Exception) -> list[Update]:
            hand = self.hands.get(queue_id)
            stored.clear()
            if hand is None:
                return []
            reason = f"{type(error).__name__}: {error}"
            self._quarantine(hand.message, f"its outcome cannot be recorded: {reason}")
            return [hand.held(update.number, reason) for update in updates]

        self.recorder.put(updates, news, recorded, refused)

    def release(self, queue_id: str, numbers: Iterable[int]) -> None:
        """These recipients need memory no more; with the last one the message leaves."""
        hand = self.hands.get(queue_id)
        if hand is None:
            return
        hand.undecided.difference_update(numbers)
        hand.unrecorded.difference_update(numbers)
        if not hand.unrecorded:
            del self.hands[queue_id]
            self.loader.finished(hand.message)

    def _quarantine(self, message: Message, reason: str) -> None:
        """Name a message that is held because our own code failed at it."""
        measured.QUARANTINED.add()
        self.quarantined.append({"id": message.queue_id, "at": time.time(), "reason": printable(reason, 300)})
        self._log.event("quarantined", level="error", queue_id=message.queue_id, reason=printable(reason, 300))

    def fault(self, message: Message, recipients: Mapping[int, Recipient], error: Exception) -> None:
        """A fault of our own: this message waits (a second time: is held), the others go on."""
        self.log_fault(message.queue_id, error)
        what = "its content cannot be read" if isinstance(error, ContentError) else "internal error"
        outcome = Deferred(FAULT, printable(f"{what}: {type(error).__name__}: {error}", 300), fault=True)
        self.decided(message, dict.fromkeys(recipients, outcome), time.time())

    def log_fault(self, queue_id: str | None, error: BaseException) -> None:
        """An error that nobody expected, with the place it came from."""
        self._log.event(
            "delivery_fault",
            level="error",
            queue_id=queue_id,
            error=f"{type(error).__name__}: {error}",
            traceback="".join(traceback.format_exception(error)),
        )
