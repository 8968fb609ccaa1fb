# SPDX-License-Identifier: GPL-3.0-or-later
"""What may stand in the agent's configuration file, value by value.

Every field carries the description that ``docs/configuration.md`` is generated from. Unknown keys are
errors everywhere: a misspelt key must never be a setting silently left at its default.
"""

from __future__ import annotations

from pydantic import Field

from relay_agent.config.schema.delivery import Delivery, Shaping, TlsPolicy, TlsReports
from relay_agent.config.schema.dkim import Dkim, DkimKey
from relay_agent.config.schema.identity import Accounts, OAuth
from relay_agent.config.schema.ports import Listener, Tls
from relay_agent.config.schema.process import Control, History, Metrics, Process, Queue
from relay_agent.config.schema.routes import Hop, Route
from relay_agent.config.schema.standing import Reputation, Suppression
from relay_agent.config.schema.submission import Policy, Submission
from relay_agent.config.schema.values import Hostname, Section, parse_duration, parse_resolver

__all__ = [
    "Accounts",
    "Config",
    "Control",
    "Delivery",
    "Dkim",
    "DkimKey",
    "History",
    "Hop",
    "Listener",
    "Metrics",
    "OAuth",
    "Policy",
    "Process",
    "Queue",
    "Reputation",
    "Route",
    "Shaping",
    "Submission",
    "Suppression",
    "Tls",
    "TlsPolicy",
    "TlsReports",
    "parse_duration",
    "parse_resolver",
]


class Config(Section):
    """The whole file."""

    hostname: Hostname = Field(description="The relay's own name, as in the greeting, EHLO and trace headers.")
    listener: tuple[Listener, ...] = Field(min_length=1, description="The ports for submission.")
    tls: Tls | None = Field(default=None, description="Needed as soon as a listener offers TLS.")
    submission: Submission = Field(default_factory=Submission, description="What a mail program may do.")
    policy: Policy = Field(default_factory=Policy, description="How much an account may send.")
    accounts: Accounts = Field(default_factory=Accounts, description="Who may sign in.")
    oauth: OAuth | None = Field(default=None, description="Sign-in with access tokens; without it there is none.")
    queue: Queue = Field(default_factory=Queue, description="Where accepted mail is kept.")
    history: History = Field(default_factory=History, description="What became of each message.")
    process: Process = Field(default_factory=Process, description="How the agent uses this host.")
    control: Control = Field(default_factory=Control, description="The running agent's control socket.")
    metrics: Metrics | None = Field(
        default=None, description="The port that Prometheus reads; without it there is none."
    )
    route: tuple[Route, ...] = Field(default=(), description="Ways for mail; first match wins.")
    delivery: Delivery = Field(default_factory=Delivery, description="How mail is carried on.")
    shaping: tuple[Shaping, ...] = Field(default=(), description="What some mail hosts can take; first match wins.")
    dkim: Dkim = Field(default_factory=Dkim, description="Signatures by the sender's domain.")
    suppression: Suppression = Field(
        default_factory=Suppression, description="Recipients that are not to be written to again."
    )
    reputation: Reputation = Field(
        default_factory=Reputation, description="Whether our addresses are on DNS block lists."
    )
    tls_policy: tuple[TlsPolicy, ...] = Field(default=(), description="TLS wanted of some domains' MX hosts.")
    tls_reports: TlsReports | None = Field(
        default=None, description="Reports of TLS to the domains that ask for them; without it there are none."
    )
