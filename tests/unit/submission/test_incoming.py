# SPDX-License-Identifier: GPL-3.0-or-later
from pathlib import Path

from relay_agent.submission.incoming import LONGEST_HEADER, IncomingMessage


def incoming(directory: Path) -> IncomingMessage:
    return IncomingMessage(directory, "relay.test", "ESMTPSA")


def test_header_is_rewritten_and_body_passed_on(tmp_path: Path) -> None:
    message = incoming(tmp_path)
    message.write(b"Subject: x\r\nMessage-ID: <a@b>\r\n")
    message.write(b"\r\nbody\r\n")
    assert message.complete() is None
    content = message.spool.finish().read()
    assert content.startswith(b"Received: by relay.test")
    assert content.endswith(b"\r\n\r\nbody\r\n")
    assert message.message_id == "<a@b>"


def test_content_beyond_ascii_is_noticed(tmp_path: Path) -> None:
    message = incoming(tmp_path)
    message.write(b"Subject: x\r\n\r\nGruss\r\n")
    assert not message.eight_bit
    message.write("Grüße\r\n".encode())
    message.write(b"plain again\r\n")
    assert message.eight_bit


def test_lines_that_are_no_header_stay_apart_from_the_body(tmp_path: Path) -> None:
    message = incoming(tmp_path)
    message.write(b"no header at all\r\n\r\nbody\r\n")
    assert message.complete() is None
    assert message.spool.finish().read().endswith(b"\r\n\r\nno header at all\r\n\r\nbody\r\n")


def test_an_endless_header_and_a_loop_are_refused(tmp_path: Path) -> None:
    message = incoming(tmp_path)
    for _ in range(6):
        message.write(b"X: " + b"y" * (LONGEST_HEADER // 5) + b"\r\n")
    assert (message.complete() or "").startswith("552 5.3.4")
    message.discard()
    message = incoming(tmp_path)
    message.write(b"Received: by x\r\n" * 100 + b"\r\nbody\r\n")
    assert (message.complete() or "").startswith("554 5.4.6")
    message.discard()
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_refuses_is_a_temporary_refusal(tmp_path: Path) -> None:
    message = incoming(tmp_path / "missing")
    # A directory that is gone, too many open files: a fault of ours; a full disk is answered with 452.
    message.write(b"\r\n" + b"x" * 1_000_000)
    assert (message.complete() or "").startswith("451 4.3.0")


def test_a_message_that_is_not_wanted_after_all_leaves_no_file(tmp_path: Path) -> None:
    message = incoming(tmp_path)
    message.write(b"\r\n" + b"x" * 1_000_000)
    assert message.complete() is None
    assert message.body().size > 1_000_000
    assert len(list(tmp_path.iterdir())) == 1
    message.discard()
    assert list(tmp_path.iterdir()) == []
