# SPDX-License-Identifier: GPL-3.0-or-later
"""accounts.yml: everywhere within seconds, and nothing else notices."""

import secrets
import smtplib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from traffic.operator import Run, message
from traffic.relays import Relay

RELAYS = ["relay1", "relay2"]
SECONDS = 45.0  # what a run may take on a busy machine; it is printed, too


@dataclass(frozen=True)
class Change:
    """Accounts before and after, the runs between, and what was open and running meanwhile."""

    before: dict[str, str]
    after: dict[str, str]
    told: Run
    done: Run
    again: Run
    sessions: dict[tuple[str, str], smtplib.SMTP]
    processes: dict[str, tuple[int, set[int]]]


def listed(accounts: dict[str, str]) -> list[dict[str, str]]:
    return [{"name": name, "password": password} for name, password in accounts.items()]


def processes(relay: Relay) -> tuple[int, set[int]]:
    return relay.main_pid(), set(relay.processes())


@pytest.fixture(scope="module")
def change(
    play: Callable[..., Run],
    relays: dict[str, Relay],
    passwords: dict[str, str],
    sign_in: Callable[..., smtplib.SMTP],
) -> Iterator[Change]:
    """carol comes, alice gets another password, bob goes; in the end everything is as it was."""
    before = dict(passwords)
    after = {"alice": secrets.token_urlsafe(12), "probe": before["probe"], "carol": secrets.token_urlsafe(12)}
    running = {relay: processes(relays[relay]) for relay in RELAYS}
    sessions = {(relay, name): sign_in(relay, name, before[name]) for relay in RELAYS for name in ("bob", "probe")}
    told = play("accounts", check=True, relay_agent_accounts=listed(after))
    # With everything that Ansible has to say: passwords must be in none of it.
    done = play("accounts", "-vvv", relay_agent_accounts=listed(after))
    again = play("accounts", relay_agent_accounts=listed(after))
    yield Change(before, after, told, done, again, sessions, running)
    for session in sessions.values():
        session.close()
    assert play("accounts").status == 0


def test_it_says_what_it_did_to_each_host_in_a_line(change: Change) -> None:
    assert change.done.status == 0, change.done.output
    for relay in RELAYS:
        assert f"{relay}: added carol; changed alice; removed bob; 1 as before\n" in change.done.output
        assert f"{relay}: nothing to change, 3 accounts as before\n" in change.again.output


def test_a_check_run_says_the_same(change: Change) -> None:
    assert change.told.changes == change.done.changes
    assert set(change.done.changes) == set(RELAYS)
    assert f"{RELAYS[0]}: would be added carol; changed alice; removed bob; 1 as before\n" in change.told.output


def test_the_second_run_changes_nothing(change: Change) -> None:
    assert change.again.status == 0, change.again.output
    assert change.again.changes == {}


def test_it_takes_seconds(change: Change, capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print(
            f" [{len(RELAYS)} relays, three changes: {change.done.seconds:.1f} s, none: {change.again.seconds:.1f} s] "
        )
    assert change.again.seconds < SECONDS
    assert change.done.seconds < SECONDS


def test_no_password_is_shown(change: Change) -> None:
    for run in (change.told, change.done, change.again):
        for password in (*change.before.values(), *change.after.values()):
            assert password not in run.output
        assert "$argon2" not in run.output
        assert "SCRAM-SHA-256$" not in run.output


@pytest.mark.parametrize("relay", RELAYS)
def test_who_came_can_sign_in(relay: str, change: Change, sign_in: Callable[..., smtplib.SMTP]) -> None:
    sign_in(relay, "carol", change.after["carol"]).quit()


@pytest.mark.parametrize("relay", RELAYS)
def test_the_new_password_counts_and_the_old_does_not(
    relay: str, change: Change, sign_in: Callable[..., smtplib.SMTP]
) -> None:
    sign_in(relay, "alice", change.after["alice"]).quit()
    with pytest.raises(smtplib.SMTPAuthenticationError):
        sign_in(relay, "alice", change.before["alice"])


@pytest.mark.parametrize("relay", RELAYS)
def test_who_went_cannot_sign_in(relay: str, change: Change, sign_in: Callable[..., smtplib.SMTP]) -> None:
    with pytest.raises(smtplib.SMTPAuthenticationError):
        sign_in(relay, "bob", change.before["bob"])


@pytest.mark.parametrize("relay", RELAYS)
def test_who_went_submits_no_more_in_a_session_that_is_open(relay: str, change: Change) -> None:
    session = change.sessions[relay, "bob"]
    with pytest.raises(smtplib.SMTPResponseException):
        session.sendmail("bob@beta.test", ["bob@alpha.test"], message("bob@beta.test", "bob@alpha.test", "gone"))


@pytest.mark.parametrize("relay", RELAYS)
def test_an_open_session_of_somebody_else_goes_on(relay: str, change: Change) -> None:
    session = change.sessions[relay, "probe"]
    sender, recipient = "probe@alpha.test", "probe@alpha.test"
    assert session.sendmail(sender, [recipient], message(sender, recipient, f"open-{relay}")) == {}
    session.quit()


@pytest.mark.parametrize("relay", RELAYS)
def test_no_process_was_replaced(relay: str, change: Change, relays: dict[str, Relay]) -> None:
    main, workers = change.processes[relay]
    assert processes(relays[relay]) == (main, workers)
    assert len(workers) > 1


@pytest.mark.parametrize("relay", RELAYS)
def test_the_agent_was_not_reloaded(relay: str, change: Change, relays: dict[str, Relay]) -> None:
    assert relays[relay].events("accounts_reloaded")
    assert relays[relay].events("reloaded") == []


def test_site_agrees_afterwards(change: Change, play: Callable[..., Run]) -> None:
    whole: dict[str, Any] = {"relay_agent_accounts": listed(change.after)}
    done = play("site", **whole)
    assert done.status == 0, done.output
    assert done.changes == {}
