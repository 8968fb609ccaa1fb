# SPDX-License-Identifier: GPL-3.0-or-later
"""What a traveller is offered: one server name and its ports, for addresses of these domains."""

from __future__ import annotations

from dataclasses import dataclass, field

from ansible_collections.postroad.relay.plugins.module_utils.port_order import Offer

__all__ = ["Incoming", "MailService"]


@dataclass(frozen=True)
class Incoming:
    """Where the users' own provider keeps their incoming mail.

    kind: `imap` or `pop3`. security: `implicit` or `starttls`. username: `address` (the whole address) or `localpart`.
    """

    kind: str
    host: str
    port: int
    security: str
    username: str = "address"


@dataclass(frozen=True)
class MailService:
    """One service, which all relays of a fleet offer in the same way.

    name: what is typed as the server, whichever relay answers. title: how people call it, such as "Example mail".
    domains: of the users' addresses. offers: best first, never empty. incoming: best first, empty when it is not known.
    authority: PEM of the authority that the devices have to be told of; "" with one that they know already.
    support: a web or mail address (https:, mailto:) for questions, or "".
    """

    name: str
    title: str
    domains: tuple[str, ...]
    offers: tuple[Offer, ...]
    incoming: tuple[Incoming, ...] = ()
    authority: str = field(default="", repr=False)
    support: str = ""
