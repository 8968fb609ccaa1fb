# SPDX-License-Identifier: GPL-3.0-or-later
"""The mail programs of Debian sign in and send, on every kind of port, and what they send arrives as it was."""

from __future__ import annotations

import re
import secrets
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from .conftest import ONLY_PASSWORD, ONLY_SCRAM, Relay, guessed
from .letter import WAYS, Letter, Way
from .next_hop import Arrived
from .table import PROGRAMS, Outcome, Program, send


def name_of(value: object) -> str:
    return value.name.replace(" ", "-") if isinstance(value, Program) else str(value)


every_program = pytest.mark.parametrize("program", PROGRAMS, ids=name_of)


def letter_for(*recipients: str, sender: str = "alice@alpha.test") -> Letter:
    return Letter(f"token{secrets.token_hex(6)}", sender, recipients or ("bob@beta.test",))


def sent(program: Program, way: Way, letter: Letter, directory: Path) -> Outcome:
    outcome = send(program, way, letter, directory)
    assert outcome.status == 0, outcome.said
    return outcome


def signed_in_by(mechanism: str, outcome: Outcome) -> bool:
    """Whether the program's transcript has that command, and not just the relay's list of mechanisms."""
    return re.search(rf"(?<!250.)AUTH {mechanism}\b", outcome.said) is not None


def check_arrived(program: Program, letter: Letter, arrived: Arrived, directory: Path) -> None:
    """Complete, and without a word on where it came from."""
    assert arrived.sender == letter.sender
    assert arrived.message["From"].addresses[0].addr_spec == letter.sender
    assert str(arrived.message["Subject"]).endswith(letter.subject)
    if program.patches:
        assert applied(arrived.content, directory) == letter.text
    else:
        body = arrived.message.get_body(("plain",))
        assert body is not None
        assert body.get_content().replace("\r\n", "\n").rstrip("\n") == letter.text.rstrip("\n")
        (attachment,) = arrived.message.iter_attachments()
        assert attachment.get_filename() == "data.bin"
        assert attachment.get_content() == letter.attachment
    assert "BODY=8BITMIME" in arrived.options or arrived.content.isascii()
    assert program.raw == (letter.text.split()[0].encode() in arrived.content)
    (received,) = arrived.message.get_all("Received", [])
    assert re.fullmatch(r"by relay\.test \(Postroad\) with (UTF8SMTP|ESMTP)SA\s+id \S+; [^;]+", received)
    assert b"127.0.0.1" not in arrived.content


def applied(patch: bytes, directory: Path) -> str:
    """The file that the patch makes at the other end."""
    where = directory / "other end"
    where.mkdir()
    git = ["git", "-c", "user.name=Bob", "-c", "user.email=bob@beta.test", "-C", str(where)]
    subprocess.run([*git, "init", "-q"], check=True, env={"PATH": "/usr/bin:/bin", "HOME": str(directory)})
    subprocess.run([*git, "am", "-q"], input=patch, check=True, env={"PATH": "/usr/bin:/bin", "HOME": str(directory)})
    return (where / "letter.txt").read_text()


@every_program
@pytest.mark.parametrize(("listener", "tls"), WAYS, ids=name_of)
def test_a_letter_arrives_complete(program: Program, listener: str, tls: str, relay: Relay, tmp_path: Path) -> None:
    # An account on which nothing works but the mechanism that the program takes when it is not told any.
    letter = letter_for()
    account = ONLY_SCRAM if program.chooses == "SCRAM-SHA-256" else ONLY_PASSWORD
    outcome = sent(program, relay.way(listener, tls, account=account), letter, tmp_path)
    assert signed_in_by(program.chooses, outcome)
    (arrived,) = relay.next_hop.take(letter.token)
    assert arrived.recipients == letter.recipients
    check_arrived(program, letter, arrived, tmp_path)


@pytest.mark.parametrize(
    ("program", "mechanism"),
    [(program, mechanism) for program in PROGRAMS for mechanism in program.mechanisms],
    ids=name_of,
)
def test_signs_in_by_each_mechanism_it_knows(program: Program, mechanism: str, relay: Relay, tmp_path: Path) -> None:
    letter = letter_for()
    account = ONLY_SCRAM if mechanism == "SCRAM-SHA-256" else ONLY_PASSWORD
    outcome = sent(program, relay.way("auto", "implicit", account=account, mechanism=mechanism), letter, tmp_path)
    assert signed_in_by(mechanism, outcome)
    relay.next_hop.take(letter.token)


@every_program
def test_many_recipients(program: Program, relay: Relay, tmp_path: Path) -> None:
    letter = letter_for(*(f"bob+{number}@beta{number % 7}.test" for number in range(120)))
    sent(program, relay.way("implicit", "implicit"), letter, tmp_path)
    arrived = relay.next_hop.take(letter.token, recipients=120)
    assert sorted(each for one in arrived for each in one.recipients) == sorted(letter.recipients)


@pytest.mark.parametrize("program", [program for program in PROGRAMS if program.utf8], ids=name_of)
def test_addresses_beyond_ascii(program: Program, relay: Relay, tmp_path: Path) -> None:
    letter = letter_for("jürgen@beta.test", "δοκιμή@gamma.test")
    sent(program, relay.way("starttls", "starttls"), letter, tmp_path)
    arrived = relay.next_hop.take(letter.token, recipients=2)
    assert sorted(each for one in arrived for each in one.recipients) == sorted(letter.recipients)
    assert all("SMTPUTF8" in one.options for one in arrived)
    check_arrived(program, letter, arrived[0], tmp_path)


@pytest.mark.parametrize("program", [program for program in PROGRAMS if not program.utf8], ids=name_of)
def test_without_smtputf8_the_user_is_told_why(program: Program, relay: Relay, tmp_path: Path) -> None:
    letter = letter_for("jürgen@beta.test")
    outcome = send(program, relay.way("starttls", "starttls", verbose=False), letter, tmp_path)
    assert outcome.status != 0
    assert program.unable in outcome.said
    assert not relay.next_hop.has(letter.token)


@pytest.mark.parametrize("program", [program for program in PROGRAMS if not program.patches], ids=name_of)
def test_a_large_attachment(program: Program, relay: Relay, tmp_path: Path) -> None:
    """Larger than what is kept in memory: it goes to the disk as it comes."""
    letter = replace(letter_for(), attachment=secrets.token_bytes(1_500_000))
    sent(program, relay.way("implicit", "implicit"), letter, tmp_path)
    (arrived,) = relay.next_hop.take(letter.token)
    check_arrived(program, letter, arrived, tmp_path)


@pytest.fixture(scope="module")
def wrong_passwords(relay: Relay, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """What came of a wrong password, by program; all of them at once, because the relay makes each wait."""

    def attempt(program: Program) -> Outcome:
        way = relay.way("auto", "starttls", account=guessed(program), password="wrong", verbose=False)
        return send(program, way, letter_for(), tmp_path_factory.mktemp("wrong"))

    with ThreadPoolExecutor(len(PROGRAMS)) as threads:
        return dict(zip((program.name for program in PROGRAMS), threads.map(attempt, PROGRAMS), strict=True))


@every_program
def test_a_wrong_password_is_told(program: Program, relay: Relay, wrong_passwords: dict[str, Outcome]) -> None:
    outcome = wrong_passwords[program.name]
    assert outcome.status != 0
    assert program.wrong in outcome.said
    assert guessed(program) in {event["account"] for event in relay.agent.events("auth_failed")}


@every_program
def test_another_relay_is_not_trusted(program: Program, relay: Relay, tmp_path: Path) -> None:
    """It is the program that refuses; the relay must not have got the password first."""
    letter = letter_for()
    outcome = send(program, relay.way("implicit", "implicit", authority=relay.stranger), letter, tmp_path)
    assert outcome.status != 0
    assert "AUTH " not in outcome.said
