# SPDX-License-Identifier: GPL-3.0-or-later
"""The traveller's page: sound, whole by itself, in the words of its catalogue, and harmless whatever it is told."""

import itertools
import json
import re
import tomllib
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from ansible_collections.postroad.relay.plugins.module_utils.port_order import Offer
from ansible_collections.postroad.relay.plugins.plugin_utils.certificates.certificate import CertificateError
from ansible_collections.postroad.relay.plugins.plugin_utils.settings.mail_service import Incoming, MailService
from ansible_collections.postroad.relay.plugins.plugin_utils.settings.page import fingerprints, page_of, settings_page
from ansible_collections.postroad.relay.plugins.plugin_utils.settings.texts import FILES, Texts
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from settings_example import SERVICE, authority, outgoing_only, private

VARIANTS = {"usual": SERVICE, "private": private(), "outgoing only": outgoing_only()}
_VOID = {"meta", "link", "img"}
# What a browser reads out or shows of attributes.
_SHOWN = ("aria-label", "title", "alt", "placeholder", "data-copy", "content")


class Page(HTMLParser):
    """Elements with their attributes, texts by the elements around them, and what is not closed properly."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[tuple[tuple[str, ...], str]] = []
        self.faults: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.faults += [f"{name} is not closed" for name in self._open]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in _VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        self.faults += [f"{tag} has {name} twice" for name in set(names) if names.count(name) > 1]
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open.pop() != tag:
            self.faults.append(f"{tag} is closed out of turn")

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append((tuple(self._open), data.strip()))

    def of(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def ids(self) -> list[str]:
        return [attributes["id"] for _, attributes in self.elements if "id" in attributes]

    def shown(self) -> str:
        return " ".join(text for _, text in self.texts)


def page(service: MailService = SERVICE) -> Page:
    return Page(settings_page(service)["index.html"].decode())


@pytest.mark.parametrize("service", VARIANTS.values(), ids=VARIANTS)
def test_it_is_sound(service: MailService) -> None:
    made = page(service)
    assert made.faults == []
    assert len(made.ids()) == len(set(made.ids()))
    refers = [
        each[name] for _, each in made.elements for name in ("aria-labelledby", "aria-describedby") if name in each
    ]
    inner = [each["href"][1:] for each in made.of("a") if each["href"].startswith("#")]
    assert {*refers, *inner} <= set(made.ids())
    assert len(inner) > 6


@pytest.mark.parametrize("service", VARIANTS.values(), ids=VARIANTS)
def test_its_headings_are_a_table_of_contents(service: MailService) -> None:
    levels = [int(tag[1]) for tag, _ in page(service).elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def test_its_landmarks() -> None:
    made = page()
    assert [len(made.of(tag)) for tag in ("header", "nav", "main", "footer")] == [1, 1, 1, 1]
    assert made.of("html") == [{"lang": "en", "dir": "ltr"}]
    assert made.of("nav")[0]["aria-label"]
    assert all("aria-labelledby" in each for each in made.of("section") + made.of("article"))


@pytest.mark.parametrize("service", VARIANTS.values(), ids=VARIANTS)
def test_nothing_comes_from_elsewhere(service: MailService) -> None:
    files = settings_page(service)
    made = Page(files["index.html"].decode())
    loaded = [each.get("src") or each["href"] for tag in ("script", "link", "img") for each in made.of(tag)]
    assert set(loaded) <= files.keys()
    # A namespace is a name, it is fetched by nobody.
    for name in files.keys() - {"index.html"}:
        assert set(re.findall(rb"//[\w.]+|@import", files[name])) <= {b"//www.w3.org"}, name
    assert re.findall(rb"url\(([^)]*)\)", files["style.css"]) == [b"road.svg"]


@pytest.mark.parametrize("service", VARIANTS.values(), ids=VARIANTS)
def test_nothing_that_the_policy_forbids(service: MailService) -> None:
    made = page(service)
    assert not made.of("style") + made.of("form") + made.of("base") + made.of("iframe")
    assert made.of("script") == [{"src": "script.js", "defer": ""}]
    for tag, attributes in made.elements:
        assert not [name for name in attributes if name == "style" or name.startswith("on")], tag
        assert not any(value.strip().lower().startswith(("javascript:", "data:")) for value in attributes.values())
    script = settings_page(service)["script.js"].decode()
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval|Function|\.style\b", script)


def test_it_is_small() -> None:
    for service in VARIANTS.values():
        assert sum(map(len, settings_page(service).values())) < 50_000


def test_all_files_are_text() -> None:
    files = settings_page(SERVICE)
    assert sorted(files) == ["icon.svg", "index.html", "road.svg", "script.js", "style.css"]
    for content in files.values():
        content.decode()


class Marked(Texts):
    """A catalogue whose texts are their own names between marks, with what is filled in behind."""

    def __init__(self) -> None:
        texts: dict[str, str | list[str]] = {}
        for table, found in tomllib.loads((FILES / "en.toml").read_text()).items():
            for name, text in found.items() if isinstance(found, dict) else ():
                places = "".join(re.findall(r"\{\w+\}", str(text)))
                marked = f"«{table}.{name}»{places}"
                texts[f"{table}.{name}"] = [marked] if isinstance(text, list) else marked
        super().__init__(texts | {"language": "en", "direction": "ltr"})


@pytest.mark.parametrize("service", VARIANTS.values(), ids=VARIANTS)
def test_no_text_stands_outside_the_catalogue(service: MailService) -> None:
    made = Page(page_of(service, Marked()))
    # What the service is, and what a person types or runs, is the same in every language.
    hosts = [service.name, *(each.host for each in service.incoming)]
    ports = [str(port) for port in [*(each.port for each in service.offers), *(each.port for each in service.incoming)]]
    probe = f"relay-agent probe {'--ca ca.pem ' if service.authority else ''}{service.name}"
    domains = ", ".join(f"@{domain}" for domain in service.domains)
    values = {
        *hosts, *ports, probe, "pipx install postroad", service.title, service.support.removeprefix("mailto:"),
        domains, "https://relay.example.org/", *(fingerprints(service.authority) if service.authority else []),
    }  # fmt: skip
    alphabet = {"width=device-width, initial-scale=1", "light dark", "noindex", "no-referrer", ""}
    shown = [text for _, text in made.texts]
    shown += [each[name] for _, each in made.elements for name in _SHOWN if name in each and each[name] not in alphabet]
    assert len(shown) > 50
    for text in shown:
        rest = re.sub(r"«[\w.]+»", "", text)
        for value in sorted(values - {""}, key=len, reverse=True):
            rest = rest.replace(value, "")
        assert not re.search(r"\w", rest.replace("postroad.mobileconfig", "")), text


def test_every_text_is_used() -> None:
    texts = Texts.read("en")
    for service in VARIANTS.values():
        page_of(service, texts)
    assert texts.keys == texts.used
    script = (FILES / "script.js").read_text()
    keys = {key.removeprefix("script.").replace("_", "-") for key in texts.keys if key.startswith("script.")}
    assert set(re.findall(r'say\("([a-z-]+)"', script)) <= keys
    named = set(re.findall(r'"([a-z-]+)"', script))
    # The label of a button is named by the button's state.
    assert keys == {key for key in keys if key.removesuffix("-label") in named}


def test_the_script_has_no_words_of_its_own() -> None:
    script = (FILES / "script.js").read_text()
    code = re.sub(r"^\s*//.*$|\s//\s.*$", "", script, flags=re.MULTILINE)
    literals = re.findall(r'"([^"\n]*)"|`([^`]*)`', code)
    assert literals
    for plain, template in literals:
        text = re.sub(r"\$\{[^}]*\}", "", plain or template)
        assert " " not in text.replace("use strict", "").replace("verdict ", ""), text
        assert not re.match(r"[A-Z]", text), text


def test_the_settings() -> None:
    said = page().shown()
    for value in ("relay.example.org", "443", "SSL/TLS", "the one your operator gave you", "imap.example.org", "993"):
        assert value in said
    copied = [text for around, text in page().texts if around[-1] == "code" and "dd" in around]
    assert copied[:3] == ["relay.example.org", "443", "SSL/TLS"]


def test_every_offer_in_its_order() -> None:
    made = page()
    cells = [text for around, text in made.texts if "tbody" in around]
    assert cells == [
        "443", "SSL/TLS", "465", "SSL/TLS", "587", "STARTTLS", "2465", "SSL/TLS", "2525", "STARTTLS",
        "8025", "STARTTLS",
    ]  # fmt: skip
    assert page(outgoing_only()).of("table") == []


def test_the_authority_is_there_when_the_devices_need_it() -> None:
    made = page(VARIANTS["private"])
    assert {"href": "ca.pem", "download": "", "class": "button"} in made.of("a")
    assert fingerprints(VARIANTS["private"].authority)[0] in made.shown()
    assert "relay-agent probe --ca ca.pem relay.example.org" in made.shown()
    assert "certificate" not in page().ids()
    assert "ca.pem" not in page().shown()


def test_the_fingerprint_is_that_of_the_certificate() -> None:
    both = authority() + authority()
    shown = fingerprints(both)
    assert [bytes.fromhex(each.replace(":", "")) for each in shown] == [
        each.fingerprint(hashes.SHA256()) for each in x509.load_pem_x509_certificates(both.encode())
    ]
    assert all(re.fullmatch("([0-9A-F]{2}:){31}[0-9A-F]{2}", each) for each in shown)


def test_the_profile_is_offered_only_when_it_makes_an_account() -> None:
    links = [each["href"] for each in page().of("a")]
    assert "postroad.mobileconfig" in links
    labels = [each["aria-label"] for _, each in page().elements if each.get("role") == "img"]
    assert [label.rsplit(" ", 1)[1] for label in labels] == [
        "https://relay.example.org/", "https://relay.example.org/postroad.mobileconfig",
    ]  # fmt: skip
    assert "postroad.mobileconfig" not in [each["href"] for each in page(outgoing_only()).of("a")]


def test_what_the_check_asks() -> None:
    made = Page(settings_page(SERVICE, web_ports=[443, 465, 587, 25, 8443, 443])["index.html"].decode())
    section = next(each for each in made.of("section") if each["id"] == "check")
    # A browser opens none of the others.
    assert json.loads(section["data-ports"]) == [443, 8443]
    assert json.loads(section["data-mail"]) == [[443, "SSL/TLS"], [465, "SSL/TLS"], [2465, "SSL/TLS"]]
    assert section["data-server"] == "relay.example.org"


def test_without_a_script_the_check_is_a_command() -> None:
    made = page()
    hidden = [each for _, each in made.elements if "hidden" in each]
    assert [("data-with-script" in each) for each in hidden] == [True]
    assert [each for _, each in made.elements if "data-without-script" in each] != []


HOSTILE = "\"'><script>alert(1)</script><img src=x onerror=alert(2)>{{7*7}}{x}\u202e*b*"


def test_hostile_titles_and_domains_stay_text() -> None:
    made = page(replace(SERVICE, title=HOSTILE, domains=(HOSTILE, "example.org")))
    assert made.faults == []
    assert len(made.of("script")) == 1
    assert [each["src"] for each in made.of("img")] == ["icon.svg"]
    assert "<script>alert(1)</script>" in made.shown()
    assert "{{7*7}}{x}" in made.shown()
    # What turns the direction of writing around is taken out.
    assert "\u202e" not in made.shown()


@pytest.mark.parametrize(
    "address",
    [
        "javascript:alert(1)", "JavaScript:alert(1)", " javascript:alert(1)", "java\nscript:alert(1)",
        "data:text/html,x", "//evil.example", "https:evil", "vbscript:x", "help@example.org", "https://x\u202ey.example",
    ],
)  # fmt: skip
def test_a_support_address_that_leads_elsewhere_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="is neither a web page"):
        settings_page(replace(SERVICE, support=address))


def test_support_addresses_that_are_well() -> None:
    for address, shown in (
        ("mailto:help@example.org?subject=Mail", "help@example.org"),
        ("https://example.org/help/?a=\"'<", "example.org/help"),
    ):
        made = page(replace(SERVICE, support=address))
        assert address in [each["href"] for each in made.of("a")]
        assert shown in made.shown()
    assert "help" not in page(outgoing_only()).ids()


@pytest.mark.parametrize(
    "name", ["", "a b", "relay.example.org/x", 'x"onload=1', "-a.example", "a..b", "a" * 254, "ü.de"]
)
def test_a_name_that_is_no_hosts_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is no name of a host"):
        settings_page(replace(SERVICE, name=name))
    with pytest.raises(ValueError, match="is no name of a host"):
        settings_page(replace(SERVICE, incoming=(Incoming("imap", name, 993, "implicit"),)))


def test_what_cannot_be_offered_is_refused() -> None:
    with pytest.raises(ValueError, match="offers no port"):
        settings_page(replace(SERVICE, offers=()))
    with pytest.raises(CertificateError, match="authority of the mail service"):
        settings_page(replace(SERVICE, authority="-----BEGIN NONSENSE-----"))
    with pytest.raises(ValueError, match="no texts in 'xx'"):
        settings_page(SERVICE, language="xx")


def test_a_service_without_domains() -> None:
    made = page(replace(SERVICE, domains=(), offers=(Offer(465, "implicit"),)))
    assert "For addresses" not in made.shown()
    assert "There is one port only" in made.shown()
