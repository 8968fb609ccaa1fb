# SPDX-License-Identifier: GPL-3.0-or-later
"""What a report means for us: whose mail it is about, and whom not to write to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from relay_agent.accounts.store import Account
from relay_agent.policy.senders import allowed_senders
from relay_agent.suppression.entry import EVERYBODY
from relay_agent.suppression.report import Report, ReportError

__all__ = ["Complaint", "account_of", "complaint"]


@dataclass(frozen=True, slots=True)
class Complaint:
    """recipients: in the form of `fold`. owner: the account whose mail it was, EVERYBODY where that cannot be told.

    queue_id: of the message, "" where the report does not tell.
    """

    recipients: tuple[str, ...]
    owner: str
    reason: str
    sender: str
    queue_id: str

    def arguments(self) -> dict[str, Any]:
        """For the supervisor, JSON-ready."""
        return {
            "recipients": list(self.recipients),
            "owner": self.owner,
            "reason": self.reason,
            "sender": self.sender,
        }


def complaint(report: Report, hostname: str, accounts: Mapping[str, Account]) -> Complaint:
    """The complaint that a report is. Raises ReportError when it is about no mail of ours, or does not say by whom.

    It is ours if its trace names this host, or if one of our accounts may send as its sender. That keeps out what has
    gone astray; somebody who has mail from us can forge a report of it, so only a reporter who is known should have a
    way to the report address.
    """
    owner = account_of(report.sender, accounts.values())
    queue_id = next((found for host, found in report.relays if host == hostname.lower() and found), "")
    if not queue_id and owner is None:
        raise ReportError(f"is about no mail of ours: neither did {hostname} handle it nor is its sender an account's")
    if not report.recipients:
        raise ReportError("does not say who complained (Original-Rcpt-To is missing, and there is no one addressee)")
    by = f" by {report.reporter}" if report.reporter else ""
    return Complaint(
        report.recipients,
        EVERYBODY if owner is None else owner,
        f"{report.kind} reported{by}",
        report.sender,
        queue_id,
    )


def account_of(sender: str, accounts: Iterable[Account]) -> str | None:
    """The one account that sends as this address; None when there is none, or several that may."""
    if not sender:
        return None
    found = None
    for account in accounts:
        if account.name == sender:
            return account.name
        if account.addresses and "*" not in account.addresses and allowed_senders(account.addresses).permits(sender):
            if found is not None:
                return None
            found = account.name
    return found
