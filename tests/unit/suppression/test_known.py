# SPDX-License-Identifier: GPL-3.0-or-later
"""What a worker finds at RCPT."""

import time
from typing import Any

from relay_agent.config.schema import Suppression
from relay_agent.suppression.entry import EVERYBODY, NETWORK, Cause, Entry, Gone
from relay_agent.suppression.known import Known


def known(*entries: Entry, **config: Any) -> Known:
    new = Known(Suppression.model_validate({"mode": "refuse", **config}))
    new.take([*entries, None])
    return new


def entry(owner: str, cause: Cause = Cause.BOUNCE, age: float = 0.0, **more: Any) -> Entry:
    now = time.time() - age
    return Entry("bob@beta.test", owner, cause, "no", now, now, **more)


def test_an_empty_list_refuses_nobody() -> None:
    assert known().find("bob@beta.test", "alice") is None
    assert not known().has_bounced("bob@beta.test")


def test_what_one_account_has_met_is_its_own() -> None:
    ours = known(entry("alice"))
    assert ours.find("BOB@Beta.test", "alice") is not None
    assert ours.find("bob@beta.test", "carol") is None
    assert ours.find("bob@beta.test", None) is None
    assert ours.find("bert@beta.test", "alice") is None
    assert known(entry(NETWORK)).find("bob@beta.test", None) is not None
    assert known(entry(EVERYBODY)).find("bob@beta.test", "carol") is not None


def test_it_can_hold_for_the_whole_host() -> None:
    assert known(entry("alice"), scope="host").find("bob@beta.test", "carol") is not None


def test_the_stronger_reason_is_given() -> None:
    found = known(entry("alice"), entry(EVERYBODY, Cause.COMPLAINT)).find("bob@beta.test", "alice")
    assert found is not None
    assert found.cause is Cause.COMPLAINT


def test_old_and_counting_entries_do_not_hold() -> None:
    assert known(entry("", age=11), keep=10).find("bob@beta.test", "alice") is None
    assert known(entry("", age=11), keep=0).find("bob@beta.test", "alice") is not None
    assert known(entry("", Cause.MANUAL, age=11), keep=10).find("bob@beta.test", "alice") is not None
    assert known(entry("", active=False)).find("bob@beta.test", "alice") is None


def test_changes_are_heard() -> None:
    ours = known()
    ours.hear([entry("alice").record(), entry("carol").record(), {"of": "another release"}])
    assert ours.has_bounced("bob@beta.test")
    ours.hear([Gone("bob@beta.test", "alice").record()])
    assert ours.find("bob@beta.test", "alice") is None
    assert ours.find("bob@beta.test", "carol") is not None
    ours.hear([entry("carol", active=False).record()])
    assert len(ours) == 0
