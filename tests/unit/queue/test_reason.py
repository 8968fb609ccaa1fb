# SPDX-License-Identifier: GPL-3.0-or-later
import pytest

from relay_agent.queue.reason import generalised


@pytest.mark.parametrize(
    ("reason", "shared"),
    [
        ("4.7.1 451 4.7.1 <bob@beta.test>: greylisted, try in 300 s", "451 4.7.1 <*>: greylisted, try in * s"),
        ("4.2.2 452 mailbox of bob@beta.test is full", "4.2.2 452 mailbox of * is full"),
        ("4.4.1 connection refused while connecting", "4.4.1 connection refused while connecting"),
        ("4.3.0 451 4.3.0 id 4XyZ-12 at 2026-11-24 10:00:01", "451 4.3.0 id * at *"),
        ("not tried yet", "not tried yet"),
        ("  two\r\nlines  ", "two lines"),
        ("", ""),
    ],
)
def test_what_is_a_recipients_own_is_left_out(reason: str, shared: str) -> None:
    assert generalised(reason) == shared


def test_a_long_reason_is_cut() -> None:
    shared = generalised("x " * 5000)
    assert len(shared) <= 161
    assert shared.endswith("*")
