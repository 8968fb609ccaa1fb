# SPDX-License-Identifier: GPL-3.0-or-later
import contextlib
import os
import tomllib
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_agent.accounts.hashing import DUMMY_HASH
from relay_agent.accounts.limits import AccountLimits
from relay_agent.accounts.scram import make_scram
from relay_agent.accounts.store import (
    Account,
    AccountsError,
    edit_accounts,
    load_accounts,
    normalise_name,
    parse_accounts,
    render,
)

ALICE = Account("alice@example.org", DUMMY_HASH, created=datetime(2026, 1, 31, 12, tzinfo=UTC))
BOB = Account("bob", DUMMY_HASH, disabled=True)


def test_what_is_written_is_read_back() -> None:
    accounts = {account.name: account for account in (BOB, ALICE)}
    text = render(accounts)
    assert parse_accounts(text.encode(), "f") == accounts
    assert [entry["name"] for entry in tomllib.loads(text)["account"]] == ["alice@example.org", "bob"]
    assert render(dict(reversed(accounts.items()))) == text


@given(st.text(min_size=1, max_size=40))
def test_every_name_that_is_allowed_survives_the_file(name: str) -> None:
    try:
        normal = normalise_name(name)
    except ValueError:
        return
    assert normalise_name(normal) == normal
    assert list(parse_accounts(render({normal: Account(normal, DUMMY_HASH)}).encode(), "f")) == [normal]


@given(st.binary(max_size=300))
def test_no_bytes_make_the_reader_fail_in_another_way(data: bytes) -> None:
    with contextlib.suppress(AccountsError):
        parse_accounts(data, "f")


def test_names_are_compared_without_case_and_composed() -> None:
    assert normalise_name("Alice@Example.ORG") == "alice@example.org"
    assert normalise_name("Jo\u0308rg") == "j\u00f6rg"


@pytest.mark.parametrize("name", ["", "a b", "a\nb", "a\0", "a\x1b[31m", "\u200e", "x" * 256, "a\u00a0b", "\ud800"])
def test_what_cannot_be_a_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        normalise_name(name)


def test_every_fault_of_a_file_is_named() -> None:
    text = f"""
        colour = 1
        [[account]]
        name = "alice"
        hash = "{DUMMY_HASH}"
        [[account]]
        name = "ALICE"
        hash = "{DUMMY_HASH}"
        [[account]]
        name = "bob"
        [[account]]
        name = "carl"
        hash = "plain"
        [[account]]
        name = "dora"
        hash = "{DUMMY_HASH}"
        disabled = "yes"
        [[account]]
        name = "emil"
        hash = "{DUMMY_HASH}"
        created = "monday"
        [[account]]
        nmae = "fritz"
        [[account]]
        name = 5
        """
    with pytest.raises(AccountsError) as caught:
        parse_accounts(text.encode(), "/etc/postroad/accounts.toml")
    problems = caught.value.problems
    assert problems[0] == "/etc/postroad/accounts.toml: 'colour': not a known key (expected [[account]])"
    expected = ["twice", "hash is missing", "argon2id", "disabled", "created", "nmae", "name is not a string"]
    assert len(problems) == 1 + len(expected)
    for index, (problem, words) in enumerate(zip(problems[1:], expected, strict=True), 1):
        assert problem.startswith(f"/etc/postroad/accounts.toml: account[{index}]")
        assert words in problem


@pytest.mark.parametrize(
    "data", [b"\xff", b"\0", b"account = 3", b"a = [" * 5000, b"x = " + b"9" * 9999, b"account = [1]"]
)
def test_a_file_that_is_something_else_is_refused(data: bytes) -> None:
    with pytest.raises(AccountsError, match="f: "):
        parse_accounts(data, "f")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(AccountsError, match=r"accounts\.toml: no such file"):
        load_accounts(tmp_path / "accounts.toml")


def test_an_edit_keeps_mode_and_writes_only_what_changed(tmp_path: Path) -> None:
    path = tmp_path / "accounts.toml"
    with edit_accounts(path) as accounts:
        accounts["bob"] = BOB
    assert path.stat().st_mode & 0o777 == 0o640
    path.chmod(0o600)
    before = path.stat()
    with edit_accounts(path):
        pass
    assert path.stat() == before
    with edit_accounts(path) as accounts:
        del accounts["bob"]
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_accounts(path) == {}
    assert [each.name for each in tmp_path.iterdir()] == ["accounts.toml"]


def test_an_edit_that_fails_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "accounts.toml"
    path.write_text(render({"bob": BOB}))

    def fail() -> None:
        with edit_accounts(path) as accounts:
            accounts.clear()
            raise KeyError("stop")

    with pytest.raises(KeyError):
        fail()
    assert load_accounts(path) == {"bob": BOB}
    assert [each.name for each in tmp_path.iterdir()] == ["accounts.toml"]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    link = tmp_path / "accounts.toml"
    link.symlink_to(tmp_path / "real" / "accounts.toml")
    with edit_accounts(link) as accounts:
        accounts["bob"] = BOB
    assert link.is_symlink()
    assert load_accounts(tmp_path / "real" / "accounts.toml") == {"bob": BOB}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_file_keeps_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "accounts.toml"
    path.write_text(render({"bob": BOB}))
    os.chown(path, 12345, 23456)
    with edit_accounts(path) as accounts:
        accounts["alice@example.org"] = ALICE
    assert (path.stat().st_uid, path.stat().st_gid) == (12345, 23456)


def _add(path: Path, number: int) -> None:
    for index in range(10):
        with edit_accounts(path) as accounts:
            name = f"account{number}-{index}"
            accounts[name] = Account(name, DUMMY_HASH)


def test_writers_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "accounts.toml"
    context = get_context("spawn")
    writers = [context.Process(target=_add, args=(path, number)) for number in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    assert len(load_accounts(path)) == 30


def test_addresses_and_limits_and_keys_come_back_as_they_were_written() -> None:
    keys = make_scram("s3cret", iterations=4096)
    account = Account(
        "alice",
        DUMMY_HASH,
        addresses=("alice@example.org", "*@example.net", "*@*.example.com", "*"),
        limits=AccountLimits(messages_per_hour=0, sessions=3),
        scram=keys,
    )
    text = render({"alice": account})
    assert "limits = { messages_per_hour = 0, sessions = 3 }" in text
    assert parse_accounts(text.encode(), "f") == {"alice": account}


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('addresses = "alice@example.org"', "addresses is not a list"),
        ("addresses = [1]", "addresses is not a list"),
        ('addresses = ["alice"]', "'alice' is no address"),
        (f"addresses = {['a@b.test'] * 1001}", "more than 1000"),
        ("limits = 3", "limits is not a table"),
        ("limits = { messages = 3 }", "limits.messages is not a known limit"),
        ("limits = { sessions = -1 }", "limits.sessions is not a whole number"),
        ("limits = { sessions = true }", "limits.sessions is not a whole number"),
        ("scram = 1", "scram is not a string"),
        ('scram = "x"', "expected keys such as"),
    ],
)
def test_faults_of_these_are_named(line: str, problem: str) -> None:
    with pytest.raises(AccountsError, match="alice") as caught:
        parse_accounts(f'[[account]]\nname = "alice"\nhash = "{DUMMY_HASH}"\n{line}\n'.encode(), "f")
    assert problem in str(caught.value)


def test_created_at_the_ends_of_time() -> None:
    text = '[[account]]\nname = "a"\nhash = "{}"\ncreated = {}\n'
    with pytest.raises(AccountsError, match="created is a time before the year 1"):
        parse_accounts(text.format(DUMMY_HASH, "0001-01-01T00:00:00+23:59").encode(), "accounts.toml")
    early = parse_accounts(text.format(DUMMY_HASH, "0002-01-01T00:00:00.5Z").encode(), "accounts.toml")
    assert parse_accounts(render(early).encode(), "accounts.toml") == early
