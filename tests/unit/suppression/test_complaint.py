# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose complaint it is."""

import pytest

from relay_agent.accounts.store import Account
from relay_agent.suppression.complaint import account_of, complaint
from relay_agent.suppression.report import ReportError, read_report
from tests.feedback import feedback_report


def account(name: str, *addresses: str) -> Account:
    return Account(name=name, hash="", addresses=addresses)


NEWS = account("newsletter", "news@alpha.test")


def test_the_account_is_found_by_the_sender() -> None:
    found = complaint(read_report(feedback_report()), "Relay.test", {"newsletter": NEWS})
    assert (found.owner, found.recipients, found.queue_id) == ("newsletter", ("bob@beta.test",), "01KAQ8Z0J7M5T2X")
    assert found.reason == "abuse reported by Provider-Feedback/3.1"
    assert found.arguments()["sender"] == "news@alpha.test"


def test_our_trace_alone_makes_it_everybodys() -> None:
    assert complaint(read_report(feedback_report()), "relay.test", {}).owner == ""


def test_mail_of_others_is_none_of_ours() -> None:
    with pytest.raises(ReportError, match="about no mail of ours"):
        complaint(read_report(feedback_report()), "another.test", {})
    report = read_report(feedback_report(trace="Received: by relay.test; x\n"))
    with pytest.raises(ReportError, match="about no mail of ours"):
        complaint(report, "relay.test", {})


def test_nobody_who_complained() -> None:
    with pytest.raises(ReportError, match="does not say who complained"):
        complaint(read_report(feedback_report(recipient="", to="")), "relay.test", {})


def test_accounts_by_name_address_and_pattern() -> None:
    alice, sales, anything = account("alice@alpha.test"), account("sales", "*@alpha.test"), account("mx", "*")
    assert account_of("", [alice]) is None
    assert account_of("alice@alpha.test", [anything, alice]) == "alice@alpha.test"
    assert account_of("x@alpha.test", [alice, sales, anything]) == "sales"
    assert account_of("news@alpha.test", [NEWS, sales]) is None
    assert account_of("x@elsewhere.test", [alice, sales, anything]) is None
