# SPDX-License-Identifier: GPL-3.0-or-later
"""Steady mail: where it goes, how fast, and what counts as a failure."""

import io
import json
import smtplib
import sys
import threading
import time
from collections import Counter

import pytest
import submission_load
from submission_load import Load, Order, main

ORDER = Order(
    relays=["relay1", "relay2", "relay3"],
    port=587,
    account="alice",
    password="secret",
    sender="alice@alpha.test",
    recipient="bob@alpha.test",
    ca_certificate="",
    rate=200.0,
)


def run_for(load: Load, seconds: float) -> submission_load.Report:
    stop = threading.Event()
    timer = threading.Timer(seconds, stop.set)
    timer.start()
    try:
        return load.run(stop)
    finally:
        timer.join()


def test_every_relay_gets_its_turn_at_the_wanted_rate() -> None:
    seen: Counter[str] = Counter()
    report = run_for(Load(ORDER, lambda _, relay: seen.update([relay])), 0.5)
    assert set(seen) == set(ORDER.relays)
    assert report.accepted == seen.total()
    assert report.failed == 0
    # Two hundred a second for half a second; a busy machine makes it fewer, never more.
    assert seen.total() <= 110


def test_what_is_not_taken_counts_with_its_reason() -> None:
    def refuse(_: Order, relay: str) -> None:
        if relay == "relay2":
            raise smtplib.SMTPServerDisconnected("Connection unexpectedly closed")
        if relay == "relay3":
            raise ConnectionRefusedError(111, "Connection refused")

    report = Load(ORDER, refuse).once_at_each()
    assert (report.accepted, report.failed) == (1, 2)
    assert any("relay2: SMTPServerDisconnected" in reason for reason in report.reasons)
    assert any("relay3: ConnectionRefusedError" in reason for reason in report.reasons)


def test_a_relay_that_is_slow_is_waited_for_and_remembered() -> None:
    def slow(_: Order, relay: str) -> None:
        if relay == "relay2":
            time.sleep(0.2)

    report = run_for(Load(ORDER, slow), 0.1)
    assert report.slowest >= 0.2
    assert report.failed == 0


def test_only_the_first_reasons_are_kept() -> None:
    def refuse(_: Order, relay: str) -> None:
        raise OSError("no")

    report = Load(Order(**{**vars(ORDER), "relays": ["relay1"] * 50}), refuse).once_at_each()
    assert report.failed == 50
    assert len(report.reasons) == 20


def test_the_program_goes_on_until_its_input_ends(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Load.__init__, "__defaults__", (lambda order, relay: None,))
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(vars(ORDER)) + "\n"))
    assert main() == 0
    started, report = capsys.readouterr().out.splitlines()
    assert started == "started"
    assert json.loads(report)["failed"] == 0


def test_a_load_that_does_not_get_through_at_first_ends_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(_: Order, relay: str) -> None:
        raise OSError("no route")

    monkeypatch.setattr(Load.__init__, "__defaults__", (refuse,))
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(vars(ORDER)) + "\n"))
    assert main() == 1
    assert "no route" in capsys.readouterr().out
