# SPDX-License-Identifier: GPL-3.0-or-later
from pathlib import Path
from typing import Any

import pytest

from relay_agent.accounts.hashing import DUMMY_HASH, verify_password
from relay_agent.accounts.store import AccountsError, load_accounts
from relay_agent.accounts.sync import SyncResult, WantedAccount, parse_wanted, sync_accounts


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "accounts.toml"


def wanted(**passwords: str) -> list[WantedAccount]:
    return [WantedAccount(name, password) for name, password in passwords.items()]


def test_a_second_run_changes_nothing(path: Path) -> None:
    assert sync_accounts(path, wanted(alice="a", bob="b")) == SyncResult(added=("alice", "bob"), new_file=True)
    before = (path.read_bytes(), path.stat())
    result = sync_accounts(path, wanted(bob="b", alice="a"))
    assert not result.changed
    assert (path.read_bytes(), path.stat()) == before


def test_only_what_differs_is_changed(path: Path) -> None:
    sync_accounts(path, wanted(alice="a", bob="b", carl="c"))
    before = load_accounts(path)
    result = sync_accounts(
        path, [*wanted(alice="a", dora="d"), WantedAccount("bob", "new"), WantedAccount("x", hash=DUMMY_HASH)]
    )
    assert result == SyncResult(added=("dora", "x"), updated=("bob",), removed=("carl",))
    after = load_accounts(path)
    assert after["alice"] == before["alice"]
    assert after["bob"].created == before["bob"].created
    assert verify_password(after["bob"].hash, "new")
    assert after["x"].hash == DUMMY_HASH


def test_a_lock_is_a_change_that_keeps_the_hash(path: Path) -> None:
    sync_accounts(path, wanted(alice="a"))
    before = load_accounts(path)["alice"]
    assert sync_accounts(path, [WantedAccount("alice", "a", disabled=True)]).updated == ("alice",)
    after = load_accounts(path)["alice"]
    assert after.disabled
    assert after.hash == before.hash


def test_a_check_says_the_same_and_writes_nothing(path: Path) -> None:
    said = sync_accounts(path, wanted(alice="a"), check=True)
    assert not path.exists()
    assert said == sync_accounts(path, wanted(alice="a"))
    assert not sync_accounts(path, wanted(alice="a"), check=True).changed
    assert sync_accounts(path, wanted(alice="b"), check=True).updated == ("alice",)
    assert not sync_accounts(path, wanted(alice="a"), check=True).changed


def test_others_can_be_kept(path: Path) -> None:
    sync_accounts(path, wanted(alice="a", bob="b"))
    assert not sync_accounts(path, wanted(alice="a"), keep_others=True).changed
    assert set(load_accounts(path)) == {"alice", "bob"}


def test_an_empty_list_makes_an_empty_file(path: Path) -> None:
    assert sync_accounts(path, [], check=True).changed
    assert sync_accounts(path, []).changed
    assert not sync_accounts(path, []).changed
    assert load_accounts(path) == {}


def test_a_damaged_file_is_not_overwritten(path: Path) -> None:
    path.write_text("[[account]]\nname = 'alice'\n")
    with pytest.raises(AccountsError):
        sync_accounts(path, wanted(bob="b"))
    assert path.read_text() == "[[account]]\nname = 'alice'\n"


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({}, "expected a list"),
        ([5], r"account\[0\]: expected a table"),
        ([{"name": "a", "password": "s3cret", "hash": DUMMY_HASH}], "either password or hash"),
        ([{"name": "a"}], "either password or hash"),
        ([{"name": "a", "password": ""}], "empty"),
        ([{"name": "a b", "password": "s3cret"}], "no spaces"),
        ([{"name": "a", "pasword": "s3cret"}], "'pasword' is not a known key"),
        ([{"name": "a", "password": 5}], "password is not a string"),
        ([{"password": "s3cret"}], "name is missing"),
        ([{"name": "a", "hash": "s3cret"}], "argon2id"),
        ([{"name": "a", "password": "s3cret", "disabled": 1}], "disabled"),
        ([{"name": "a", "password": "s3cret"}, {"name": "A", "password": "s3cret"}], r"account\[1\]: a is there twice"),
    ],
)
def test_a_bad_list_is_refused_without_its_secrets(document: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        parse_wanted(document)
    assert "s3cret" not in str(caught.value)


def test_a_password_is_not_in_the_representation() -> None:
    assert "s3cret" not in repr(WantedAccount("a", "s3cret"))


def test_addresses_limits_and_keys_follow_the_list(path: Path) -> None:
    def entries(**more: Any) -> list[WantedAccount]:
        return parse_wanted([{"name": "alice", "password": "a", **more}])

    sync_accounts(path, entries())
    before = load_accounts(path)["alice"]
    assert before.scram.startswith("SCRAM-SHA-256$")
    assert sync_accounts(path, entries(addresses=["@Example.org"], limits={"sessions": 5})).updated == ("alice",)
    after = load_accounts(path)["alice"]
    assert (after.addresses, after.limits.given()) == (("*@example.org",), {"sessions": 5})
    assert (after.hash, after.scram) == (before.hash, before.scram)
    assert not sync_accounts(path, entries(addresses=["*@example.org"], limits={"sessions": 5})).changed
    assert sync_accounts(path, entries()).updated == ("alice",)
    assert load_accounts(path)["alice"] == before
    new = parse_wanted([{"name": "alice", "hash": DUMMY_HASH, "scram": before.scram}])
    sync_accounts(path, new)
    assert load_accounts(path)["alice"].scram == before.scram


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ({"addresses": ["alice"]}, "is no address"),
        ({"limits": {"x": 1}}, "limits.x"),
        ({"scram": "SCRAM-SHA-256$"}, "scram goes with hash"),
    ],
)
def test_faults_in_these_are_named(more: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        parse_wanted([{"name": "alice", "password": "a", **more}])
