# SPDX-License-Identifier: GPL-3.0-or-later
from pathlib import Path

import pytest

from relay_agent.history import lines as module
from relay_agent.history.lines import lines_of, lines_with, needle


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Bob@Beta.test", b"bob@beta.test"),
        ("jörg@exämple.test", b"mple.test"),
        ('o"brien@beta.test', b"brien@beta.test"),
        ("a\\b\x7fcd", b"cd"),
        ("äö", b""),
    ],
)
def test_the_needle_is_what_the_json_has_as_it_is(text: str, wanted: bytes) -> None:
    assert needle(text) == wanted


@pytest.mark.parametrize("chunk", [1, 7, 40, 1 << 20])
def test_lines_are_found_wherever_the_pieces_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(module, "_CHUNK", chunk)
    path = tmp_path / "lines"
    lines = [f'{{"queue_id":"Q{number % 3}","to":"User{number}@beta.test"}}'.encode() for number in range(30)]
    path.write_bytes(b"".join(line + b"\n" for line in lines) + b'{"queue_id":"Q1","to":"user2')
    assert list(lines_with(path, b"user2")) == [lines[2], *lines[20:30]]
    assert list(lines_with(path, b"")) == lines
    assert list(lines_with(path, b"nobody")) == []
    assert list(lines_of(path, ["Q1", "Q7"])) == [("Q1", line) for line in lines[1::3]]


def test_a_line_is_given_once_however_often_it_hits(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_bytes(b'{"queue_id":"A","a":"xx","b":"xx","queue_id":"A"}\n{"queue_id":"B"}\n')
    assert len(list(lines_with(path, b"xx"))) == 1
    assert len(list(lines_of(path, ["A", "B"]))) == 2
