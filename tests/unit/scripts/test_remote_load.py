# SPDX-License-Identifier: GPL-3.0-or-later
"""How long the operator's way in was shut, and load on another host."""

from pathlib import Path

import pytest
import remote_load
from bench_figures import BenchFailedError
from remote_load import Doorkeeper, RemoteLoad, fresh_ssh, longest_outage
from submission_load import Order

ORDER = Order(["relay1"], 587, "alice", "secret", "alice@alpha.test", "bob@alpha.test", "", 10.0)

# In the place of ssh: runs the last of its arguments here.
HERE = ["sh", "-c", 'for last; do :; done; exec sh -c "$last"', "ssh"]


@pytest.mark.parametrize(
    ("tries", "seconds"),
    [
        ([(0, 1, True), (2, 3, True)], 0),
        ([(0, 1, True), (2, 4, False), (5, 6, True)], 6),
        ([(0, 1, True), (2, 4, False), (5, 6, True), (7, 8, False), (9, 9.5, True)], 6),
        ([(0, 2, False), (3, 4, True)], 4),
        ([(0, 1, True), (2, 4, False)], float("inf")),
        ([], 0),
    ],
)
def test_an_outage_lasts_from_the_last_way_in_to_the_next(
    tries: list[tuple[float, float, bool]], seconds: float
) -> None:
    assert longest_outage(tries) == seconds


def test_the_doorkeeper_tries_until_told_and_once_more() -> None:
    answers = iter([True, False, True])
    with Doorkeeper(lambda: next(answers, True), pause=0.01) as door:
        while len(door.tries) < 3:
            pass
    assert [got_in for _, _, got_in in door.tries[:3]] == [True, False, True]
    assert len(door.tries) > 3
    assert longest_outage(door.tries) > 0


def test_a_way_in_is_what_a_command_says() -> None:
    assert fresh_ssh(HERE, "relay1")
    assert not fresh_ssh(["false"], "relay1")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the program is copied to, and one that answers without a relay."""
    monkeypatch.setattr(remote_load, "_PLACE", str(tmp_path / "copied.py"))
    program = tmp_path / "program.py"
    monkeypatch.setattr(remote_load, "_PROGRAM", program)
    program.write_text(
        "import json, sys\n"
        "order = json.loads(sys.stdin.readline())\n"
        "print('started' if order['port'] == 587 else 'refused', flush=True)\n"
        "sys.stdin.read()\n"
        "print(json.dumps({'accepted': 7, 'failed': 1, 'slowest': 0.5, 'reasons': ['no']}))\n"
    )
    return program


def test_the_counts_come_back(place: Path) -> None:
    with RemoteLoad(HERE, "laptop", ORDER) as load:
        assert load.report.accepted == 0
    assert (load.report.accepted, load.report.failed, load.report.reasons) == (7, 1, ["no"])


def test_a_load_that_does_not_start_is_said(place: Path) -> None:
    load = RemoteLoad(HERE, "laptop", Order(**{**vars(ORDER), "port": 25}))
    with pytest.raises(BenchFailedError, match="does not get through before anything is changed: refused"):
        load.__enter__()
