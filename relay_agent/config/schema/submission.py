# SPDX-License-Identifier: GPL-3.0-or-later
"""What a mail program may do, and how much."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network
from typing import Literal

from pydantic import Field

from relay_agent.config.schema.values import Duration, Section

__all__ = ["Policy", "Submission"]


class Submission(Section):
    """What a mail program may do."""

    trusted_networks: tuple[IPv4Network | IPv6Network, ...] = Field(
        default=(), description='Networks that may submit without signing in, e.g. `["127.0.0.0/8"]`.'
    )
    max_message_size: int = Field(
        default=52_428_800, ge=65_536, description="Largest message taken, in bytes (SIZE, RFC 1870)."
    )
    max_recipients: int = Field(default=1000, ge=100, description="Recipients of one message (RFC 5321 4.5.3.1.8).")
    max_connections: int = Field(default=5000, ge=1, description="Sessions at once, over all listeners.")
    max_connections_per_source: int = Field(
        default=100, ge=1, description="Sessions at once from one IPv4 address or IPv6 /64."
    )
    auto_wait: Duration = Field(
        default=0.2,
        ge=0.02,
        le=5,
        description="On a listener with `auto`: how long a client may take to begin with TLS before it is greeted.",
    )
    web_wait: Duration = Field(
        default=0.25,
        ge=0.02,
        le=5,
        description="On a listener with `web`: the time a client has to begin as browsers do, before it is greeted.",
    )
    command_timeout: Duration = Field(
        default=300.0, ge=1, description="Longest silence of a client before 421 (RFC 5321 4.5.3.2.7)."
    )
    max_hold: Duration = Field(
        default=604_800.0,
        ge=0,
        le=999_999_999,
        description="Longest time that a signed-in program may have a message held before it is carried on "
        "(FUTURERELEASE, RFC 4865); 0: not offered.",
    )
    max_auth_failures: int = Field(default=5, ge=1, description="Failed sign-ins before the session is closed.")
    sender_check: Literal["listed", "strict", "off"] = Field(
        default="listed",
        description="Whether the envelope sender and the header's From and Sender must be addresses of the account: "
        "those listed for it, or else its name if that is an address. `listed`: an account with neither may use any "
        "address; `strict`: it may use none; `off`: nothing is checked.",
    )
    sender_mismatch: Literal["refuse", "rewrite"] = Field(
        default="refuse",
        description="What happens to another address: `refuse` with 553, or `rewrite` it to the account's first "
        "address (envelope and From; a Sender line is dropped).",
    )
    trace_client: bool = Field(
        default=False, description="Write the client's address and the name it gave into the Received line."
    )


class Policy(Section):
    """How much an account may send, and how often a password may be guessed.

    The defaults are for a company of a thousand people. Limits of an account in the file of accounts come first.
    """

    messages_per_hour: int = Field(
        default=500,
        ge=0,
        description="Messages an hour from one account, in the long run; 0: no limit. "
        "This, recipients and guesses are counted for all worker processes together.",
    )
    messages_burst: int = Field(
        default=200, ge=1, description="Messages that an account may send at once after a while of silence."
    )
    recipients_per_hour: int = Field(
        default=5000, ge=0, description="Recipients an hour of all messages of one account; 0: no limit."
    )
    recipients_burst: int = Field(
        default=2000,
        ge=1,
        description="Recipients at once after a while of silence; also the most that one message has.",
    )
    message_size: int = Field(
        default=0, ge=0, description="Largest message of an account, in bytes; 0: `submission.max_message_size`."
    )
    sessions: int = Field(default=50, ge=0, description="Sessions at once signed in to one account; 0: no limit.")
    priority_highest: int = Field(
        default=4,
        ge=-9,
        le=9,
        description="Most urgent priority (MT-PRIORITY, RFC 6710) that an account may give its messages; more is "
        "lowered to it. Urgent mail goes before the account's own other mail, never before that of others.",
    )
    priority_lowest: int = Field(
        default=-9, ge=-9, le=9, description="Least urgent priority that an account may give; less is raised to it."
    )
    guesses: int = Field(
        default=10,
        ge=1,
        description="Different wrong passwords for an account from one network before no more are taken for "
        "`shut_out`. Before that, each takes longer than the last. Repeating a wrong one costs nothing.",
    )
    guess_delay: Duration = Field(
        default=1.0,
        ge=0,
        description="How long a wrong password waits for its answer; doubled by each different one after the third.",
    )
    guess_delay_max: Duration = Field(default=30.0, ge=0, le=300, description="Longest such delay.")
    guess_prefix_ipv4: int = Field(
        default=24, ge=8, le=32, description="Bits of an IPv4 address that are one network as to guessing."
    )
    guess_prefix_ipv6: int = Field(
        default=56, ge=16, le=128, description="Bits of an IPv6 address that are; a subscriber often has 56."
    )
    shut_out: Duration = Field(
        default=900.0, ge=1, description="How long the first time; it doubles each time, up to `shut_out_max`."
    )
    shut_out_max: Duration = Field(
        default=86_400.0, ge=1, description="Longest shut-out; guesses are forgotten after as long a silence."
    )
    shut_out_notices: str = Field(
        default="/run/postroad-shut-out/notices",
        description="Socket of the service that has the packet filter keep out addresses that guess; it is told of "
        'each wrong password, without name or password. Nothing happens where there is no such socket, or with `""`.',
    )
