# SPDX-License-Identifier: GPL-3.0-or-later
"""The cards of the traveller's page: what to do in which program, for one service."""

from __future__ import annotations

from dataclasses import dataclass

from ansible_collections.postroad.relay.plugins.plugin_utils.settings.mail_service import MailService
from ansible_collections.postroad.relay.plugins.plugin_utils.settings.texts import Texts
from markupsafe import Markup

__all__ = ["Card", "Steps", "cards"]


@dataclass(frozen=True)
class Steps:
    """Steps in their order. title: what they are for, "" when the card has no others."""

    title: str
    items: list[Markup]


@dataclass(frozen=True)
class Card:
    """One program or device. icon: a name in icons.html.j2. profile: whether it takes the profile to download."""

    name: str
    icon: str
    title: str
    about: str
    steps: tuple[Steps, ...]
    notes: tuple[Markup, ...] = ()
    profile: bool = False


def cards(service: MailService, texts: Texts) -> list[Card]:
    """Those of all programs, in the order of the page. The values in them are the service's first offer."""
    first = service.offers[0]
    # The tags are these, what is filled in is escaped.
    value = Markup("<code>{}</code>")
    values = {
        "server": value.format(service.name),
        "port": value.format(first.port),
        "security": value.format(texts.plain(f"security.{first.security}")),
    }

    def steps(key: str, title: str = "") -> Steps:
        return Steps(texts.plain(title) if title else "", texts.steps(key, **values))

    def card(name: str, icon: str, *parts: Steps, notes: tuple[Markup, ...] = (), profile: bool = False) -> Card:
        return Card(name, icon, texts.plain(f"{name}.title"), texts.plain(f"{name}.about"), parts, notes, profile)

    def account(name: str) -> list[Steps]:
        """Of a new account, which takes the incoming side, too, and of one that is there."""
        kinds = ("new", "old") if service.incoming else ("old",)
        return [steps(f"{name}.{kind}_steps", f"{name}.{kind}") for kind in kinds]

    if service.incoming:
        apple = card(
            "apple", "phone", steps("apple.phone_steps", "apple.phone"), steps("apple.mac_steps", "apple.mac"),
            profile=True,
        )  # fmt: skip
    else:
        # A profile makes a whole account, which takes the incoming side, too.
        apple = card(
            "apple", "phone",
            steps("apple.phone_old_steps", "apple.phone_old"), steps("apple.mac_old_steps", "apple.mac_old"),
        )  # fmt: skip
    return [
        apple,
        card(
            "android", "tablet",
            steps("android.thunderbird_steps", "android.thunderbird"), steps("android.gmail_steps", "android.gmail"),
        ),
        card("thunderbird", "laptop", *account("thunderbird")),
        card("outlook", "window", *account("outlook"), notes=(texts.say("outlook.note"),)),
        card("other", "printer", steps("other.steps"), notes=(texts.say(f"other.{first.security}_note"),)),
    ]  # fmt: skip
