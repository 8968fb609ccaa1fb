# SPDX-License-Identifier: GPL-3.0-or-later
"""The page of the fleet: whole by itself, sound, and readable without seeing it."""

from html.parser import HTMLParser

import pytest
from ansible_collections.postroad.relay.plugins.plugin_utils.status.state import read_state
from status_example import fleet, knocked, page_of, reading, relay, waiting

_VOID = {"meta", "rect", "line"}


class Page(HTMLParser):
    """Elements with their attributes, all text by the element that it is in, and what is not closed properly."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.faults: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.faults += [f"{name} is not closed" for name in self._open]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in _VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in _VOID and (not self._open or self._open.pop() != tag):
            self.faults.append(f"{tag} is closed out of turn")

    def handle_data(self, data: str) -> None:
        self.texts.append((self._open[-1] if self._open else "", data))

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def page() -> Page:
    return Page(page_of(fleet()))


def test_it_is_sound(page: Page) -> None:
    assert page.faults == []
    ids = [attributes["id"] for _, attributes in page.elements if attributes.get("id")]
    assert len(ids) == len(set(ids))


def test_nothing_comes_from_elsewhere(page: Page) -> None:
    assert page.of("script") == page.of("link") == page.of("img") == []
    assert [each for each in page.elements if {"src", "href", "onload", "onclick"} & each[1].keys()] == []
    policies = [each["content"] for each in page.of("meta") if each.get("http-equiv") == "Content-Security-Policy"]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'"]
    style = "".join(text for tag, text in page.texts if tag == "style")
    assert "url(" not in style
    assert "@import" not in style


def test_light_and_dark_phone_and_desk(page: Page) -> None:
    style = "".join(text for tag, text in page.texts if tag == "style")
    assert "prefers-color-scheme: dark" in style
    assert "max-width: 46rem" in style
    assert [each["content"] for each in page.of("meta") if each.get("name") == "viewport"]


def test_it_can_be_read_without_being_seen(page: Page) -> None:
    assert page.of("html") == [{"lang": "en"}]
    headings = [tag for tag, _ in page.elements if tag in ("h1", "h2", "h3")]
    assert headings == ["h1"] + ["h2"] * (len(headings) - 1)
    assert len(page.of("caption")) == len(page.of("table"))
    assert all("scope" in each for each in page.of("th"))
    pictures = [each for each in page.of("svg") if "aria-hidden" not in each]
    ids = {attributes.get("id") for _, attributes in page.elements}
    assert pictures
    assert all(each["role"] == "img" and set(str(each["aria-labelledby"]).split()) <= ids for each in pictures)


def test_every_relay_and_every_finding_is_there(page: Page) -> None:
    text = "".join(text for tag, text in page.texts if tag != "style")
    for words in (
        "4 relays: 2 in trouble, 1 with something to note, 1 well",
        "relay4.example.org port 22: Connection timed out",
        "submission.max_message_size: 26214400 here, 52428800 at relay1.example.org and relay2.example.org",
        "from 21 days on",
        "mx.example.net answered 451 4.7.1 greylisted",
        "21 recipients at relay1.example.org",
        "2026-12-09",
    ):
        assert words in text


def test_a_relay_that_differs_is_marked_in_its_cell(page: Page) -> None:
    marked = [each["data-name"] for each in page.of("td") if each.get("class") == "differs"]
    assert marked == ["≠ settings"]


def test_what_another_server_said_is_text_and_nothing_more() -> None:
    hostile = "</svg><script>alert(1)</script> \u202e"
    hostile_relay = relay('<b onload="x">', reading(queue=waiting(1.0, (hostile, 1)), problems=[hostile]))
    page = Page(page_of([hostile_relay]))
    assert page.faults == []
    assert page.of("script") == page.of("b") == []
    assert "\u202e" not in "".join(text for _, text in page.texts)


@pytest.mark.parametrize("seen", [{}, {"results": [{"item": "laptop", "msg": "unreachable"}]}, knocked()])
def test_little_is_known(seen: dict[str, object]) -> None:
    stopped = reading(agent=None, queue=None, counts=None, release=None, settings=None, digest=None, certificate="")
    for states in ([read_state("a", "relays", {"reading": stopped}, seen)], [read_state("a", "relays", {}, seen)], []):
        assert Page(page_of(states)).faults == []
