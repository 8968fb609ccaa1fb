# SPDX-License-Identifier: GPL-3.0-or-later
"""Each program is told what it needs for this service, and nothing that the service cannot do."""

from dataclasses import replace

from ansible_collections.postroad.relay.plugins.module_utils.port_order import Offer
from ansible_collections.postroad.relay.plugins.plugin_utils.settings.cards import Card, cards
from ansible_collections.postroad.relay.plugins.plugin_utils.settings.mail_service import MailService
from ansible_collections.postroad.relay.plugins.plugin_utils.settings.texts import Texts
from settings_example import SERVICE, outgoing_only


def made(service: MailService) -> dict[str, Card]:
    return {card.name: card for card in cards(service, Texts.read("en"))}


def words(card: Card) -> str:
    return " ".join(step for part in card.steps for step in part.items)


def test_a_card_for_each() -> None:
    assert list(made(SERVICE)) == ["apple", "android", "thunderbird", "outlook", "other"]
    assert all(card.title and card.about and card.steps for card in made(SERVICE).values())


def test_what_is_typed_is_the_first_offer() -> None:
    service = replace(SERVICE, offers=(Offer(2525, "starttls"), Offer(443, "implicit")))
    for name in ("android", "thunderbird", "outlook", "other"):
        said = words(made(service)[name])
        for value in ("relay.example.org", "2525", "STARTTLS"):
            assert f"<code>{value}</code>" in said
        assert "443" not in said


def test_few_steps_and_short_ones() -> None:
    for service in (SERVICE, outgoing_only()):
        for card in cards(service, Texts.read("en")):
            assert all(1 < len(part.items) <= 4 for part in card.steps)
            assert all(len(step.striptags()) <= 130 for part in card.steps for step in part.items)


def test_without_the_incoming_side_no_account_is_made() -> None:
    whole, half = made(SERVICE), made(outgoing_only())
    assert whole["apple"].profile
    assert not half["apple"].profile
    assert [len(whole[name].steps) for name in ("thunderbird", "outlook")] == [2, 2]
    assert [len(half[name].steps) for name in ("thunderbird", "outlook")] == [1, 1]
    assert "<code>587</code>" in words(half["apple"])


def test_the_note_is_of_the_security_in_use() -> None:
    assert "just SSL or TLS" in made(SERVICE)["other"].notes[0]
    assert "STARTTLS is" in made(outgoing_only())["other"].notes[0]
