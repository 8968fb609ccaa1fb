# SPDX-License-Identifier: GPL-3.0-or-later
import pytest

from relay_agent.submission.lines import LineReader, LineTooLongError


def test_takes_lines_and_leaves_the_rest() -> None:
    reader, buffer = LineReader(), bytearray(b"NOOP\r\nQUIT\nRS")
    assert [reader.take(buffer, 10) for _ in range(3)] == [b"NOOP\r\n", b"QUIT\n", None]
    assert buffer == b"RS"


@pytest.mark.parametrize("piece", [1, 7, 5000])
def test_a_line_too_long_is_told_once_and_never_kept(piece: int) -> None:
    reader, buffer, told, lines = LineReader(), bytearray(), 0, []
    stream = b"x" * 3000 + b"\r\nNOOP\r\n" + b"y" * 3000 + b"\r\n"
    for start in range(0, len(stream), piece):
        buffer += stream[start : start + piece]
        waiting = True
        while waiting:
            try:
                line = reader.take(buffer, 100)
                lines += [line] if line is not None else []
                waiting = line is not None
            except LineTooLongError:
                told += 1
        assert len(buffer) <= 100
    assert (told, lines) == (2, [b"NOOP\r\n"])


def test_the_longest_line_passes() -> None:
    assert LineReader().take(bytearray(b"x" * 98 + b"\r\n"), 100) == b"x" * 98 + b"\r\n"


@pytest.mark.parametrize("piece", [7, 5000])
def test_a_line_too_long_is_known_by_its_beginning(piece: int) -> None:
    reader, buffer = LineReader(), bytearray()
    stream = b"BDAT " + b" " * 3000 + b"5\r\n"

    def read() -> None:
        for start in range(0, len(stream), piece):
            buffer.extend(stream[start : start + piece])
            reader.take(buffer, 100)

    with pytest.raises(LineTooLongError) as caught:
        read()
    assert caught.value.beginning == b"BDAT " + b" " * 11
