# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands are passed on as they speak, and silence is filled."""

import pytest
from streaming import Stream


def test_output_and_status(capsys: pytest.CaptureFixture[str]) -> None:
    outcome = Stream().run("talk", ["sh", "-c", "echo one; echo two >&2; exit 3"])
    assert outcome.status == 3
    assert outcome.output.splitlines() == ["one", "two"]
    assert capsys.readouterr().out == "one\ntwo\n"


def test_quiet_keeps_the_output_for_later(capsys: pytest.CaptureFixture[str]) -> None:
    assert Stream().run("talk", ["echo", "one"], quiet=True).output == "one\n"
    assert capsys.readouterr().out == ""


def test_silence_is_filled(capsys: pytest.CaptureFixture[str]) -> None:
    Stream(heartbeat=0.5).run("a long task", ["sleep", "1.6"])
    assert "postroad: a long task: still at it after" in capsys.readouterr().out


def test_a_line_of_ours_does_not_stick_to_a_line_of_theirs(capsys: pytest.CaptureFixture[str]) -> None:
    stream = Stream()
    stream.run("dots", ["printf", "..."])
    stream.say("ours")
    assert capsys.readouterr().out == "...\nours\n"


def test_standard_input_is_closed() -> None:
    assert Stream().run("read", ["sh", "-c", "read line || echo nothing"], quiet=True).output == "nothing\n"
