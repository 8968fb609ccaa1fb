# SPDX-License-Identifier: GPL-3.0-or-later
"""Mail that goes on while something is changed: submits steadily to several relays, and counts what was not taken.

`make bench-deploy` sends this file to a lab host and runs it there, so it needs nothing but the standard library. The
first line of standard input is the order (JSON: ``Order``); "started" is answered once the first message was taken at
every relay. It goes on until standard input ends, and then prints the counts (JSON: ``Report``).

A submission is one message over a connection of its own, as a mail program makes it: connecting, STARTTLS, AUTH, MAIL
to the reply after the content. Nothing is tried twice: whatever is not answered with success is a failure.
"""

from __future__ import annotations

import json
import smtplib
import ssl
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from itertools import cycle, islice

__all__ = ["Load", "Order", "Report", "submit"]

_CLIENTS = 4
_KEPT_REASONS = 20


@dataclass(frozen=True)
class Order:
    """What to submit, and where.

    ``relays`` are names; ``rate`` is of messages a second, over all relays together; ``ca_certificate`` is PEM text;
    ``timeout`` is of each command, in seconds.
    """

    relays: list[str]
    port: int
    account: str
    password: str
    sender: str
    recipient: str
    ca_certificate: str
    rate: float
    timeout: float = 30.0


@dataclass
class Report:
    """What became of the submissions; ``slowest`` in seconds, ``reasons`` of the first failures."""

    accepted: int = 0
    failed: int = 0
    slowest: float = 0.0
    reasons: list[str] = field(default_factory=list)


def submit(order: Order, relay: str) -> None:
    """One message to one relay. Raises OSError or smtplib.SMTPException when it is not taken (RFC 6409)."""
    context = ssl.create_default_context(cadata=order.ca_certificate)
    with smtplib.SMTP(relay, order.port, timeout=order.timeout) as session:
        session.starttls(context=context)
        session.login(order.account, order.password)
        text = (
            f"From: <{order.sender}>\r\nTo: <{order.recipient}>\r\nSubject: load\r\n\r\nMail while {relay} changes.\r\n"
        )
        session.sendmail(order.sender, [order.recipient], text)


class Load:
    """Submits at a steady rate, the relays in turns, until it is told to stop."""

    def __init__(self, order: Order, submit: Callable[[Order, str], None] = submit) -> None:
        self._order = order
        self._submit = submit
        self._report = Report()
        self._lock = threading.Lock()

    def once_at_each(self) -> Report:
        """One message to every relay; what of it failed."""
        with ThreadPoolExecutor(max_workers=_CLIENTS) as pool:
            list(pool.map(self._one, self._order.relays))
        return self._report

    def run(self, stop: threading.Event) -> Report:
        """Submit until ``stop`` is set; submissions that have begun by then are waited for and counted.

        Clients do not wait for each other: a relay that answers late does not spare the others their load.
        """
        clients = [threading.Thread(target=self._client, args=(number, stop)) for number in range(_CLIENTS)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        return self._report

    def _client(self, number: int, stop: threading.Event) -> None:
        pause = _CLIENTS / self._order.rate
        # Each begins at another relay, and at another moment.
        relays = self._order.relays
        turns = cycle(relays[number * len(relays) // _CLIENTS :] + relays[: number * len(relays) // _CLIENTS])
        due = time.monotonic() + number * pause / _CLIENTS
        for relay in islice(turns, None):
            if stop.wait(max(0.0, due - time.monotonic())):
                return
            self._one(relay)
            due = max(due + pause, time.monotonic())

    def _one(self, relay: str) -> None:
        begun = time.monotonic()
        try:
            self._submit(self._order, relay)
            reason = ""
        except (OSError, smtplib.SMTPException) as error:
            reason = f"{time.strftime('%H:%M:%S')} {relay}: {type(error).__name__}: {error}"
        seconds = time.monotonic() - begun
        with self._lock:
            self._report.slowest = max(self._report.slowest, round(seconds, 3))
            if not reason:
                self._report.accepted += 1
                return
            self._report.failed += 1
            if len(self._report.reasons) < _KEPT_REASONS:
                self._report.reasons.append(reason)


def _set_at_end_of_input(stop: threading.Event) -> None:
    sys.stdin.read()
    stop.set()


def main() -> int:
    """See the module's docstring; exit status 1 when the load does not get through before anything is changed."""
    order = Order(**json.loads(sys.stdin.readline()))
    first = Load(order).once_at_each()
    if first.failed:
        print(json.dumps(asdict(first)), flush=True)
        return 1
    print("started", flush=True)
    stop = threading.Event()
    threading.Thread(target=_set_at_end_of_input, args=(stop,), daemon=True).start()
    print(json.dumps(asdict(Load(order).run(stop))), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
