# SPDX-License-Identifier: GPL-3.0-or-later
"""The traveller's page in a real browser, as a relay serves it: over TLS, under its Content-Security-Policy.

One start of Debian's chromium for all of it. The relay's name leads to loopback, to a port of the test's for each of
the relay's; its certificate is known to the browser by its key.
"""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.postroad.relay.plugins.plugin_utils.settings.mail_service import MailService
from ansible_collections.postroad.relay.plugins.plugin_utils.settings.page import settings_page
from browser import Tab, browser
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from settings_example import SERVICE, outgoing_only, private

from tests.integration.certificates import Certificate, make_certificate
from tests.integration.settings.relay_web import RelayWeb

ADDRESS = "https://relay.example.org/"
AXE = files("axe_core_python").joinpath("axe.min.js").read_text(encoding="utf-8")
LONG = replace(
    SERVICE,
    name=f"{'-'.join(['submission'] * 5)}.relays.network.example.org",
    title="Gesellschaftspostdienstleistungsverbundszentrale of the Example Organisation",
    domains=tuple(f"department{number}.of.the.organisation.example.org" for number in range(9)),
    support=f"https://help.example.org/{'questions-and-answers' * 5}",
)
VARIANTS = {"usual": SERVICE, "private": private(), "outgoing only": outgoing_only(), "long": LONG}
_OUTSIDE = """
[...document.querySelectorAll("h1, h2, h3, h4, p, li, dt, dd, td, th, code, button, a, svg, img, figure")]
  .filter(each => !each.closest(".unseen, .skip"))
  .filter(each => { const box = each.getBoundingClientRect();
                    return box.width > 1 && (box.right > innerWidth + 1 || box.left < -1); })
  .map(each => each.tagName + ": " + each.textContent.slice(0, 60))
"""
# What is pressed is 24 pixels high and wide at least (WCAG 2.2, 2.5.8); links within a sentence may be lower.
_SMALL = """
[...document.querySelectorAll("button, .button, nav a")].filter(each => each.checkVisibility())
  .map(each => [each.textContent.trim(), each.getBoundingClientRect()])
  .filter(([_, box]) => box.width < 24 || box.height < 24).map(([name, _]) => name)
"""
_SETTLED = """
new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done))).then(() => Promise.allSettled(
  document.getAnimations().filter(each => each instanceof CSSTransition).map(each => each.finished)))
"""


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("relay"), "relay.example.org")


@pytest.fixture(scope="module")
def relay(certificate: Certificate) -> Iterator[RelayWeb]:
    """Behind the relay's port 443."""
    with RelayWeb(certificate) as web:
        yield web


@pytest.fixture(scope="module")
def second(certificate: Certificate) -> Iterator[RelayWeb]:
    """Behind its port 8443; nobody is behind 9443."""
    with RelayWeb(certificate) as web:
        yield web


@pytest.fixture(scope="module")
def chromium(certificate: Certificate, relay: RelayWeb, second: RelayWeb) -> Iterator[Tab]:
    loaded = x509.load_pem_x509_certificate(certificate.certificate.read_bytes())
    key = loaded.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    pin = base64.b64encode(hashlib.sha256(key).digest()).decode()
    places = {443: relay.port, 8443: second.port, 9443: 1}
    rules = ", ".join(f"MAP relay.example.org:{port} 127.0.0.1:{place}" for port, place in places.items())
    with browser(
        f"--host-resolver-rules={rules}, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        f"--ignore-certificate-errors-spki-list={pin}",
        "--explicitly-allowed-ports=1",
    ) as tab:
        yield tab


@pytest.fixture
def tab(chromium: Tab, relay: RelayWeb, second: RelayWeb) -> Tab:
    """A desk with a light scheme, and a relay that answers."""
    for web in (relay, second):
        web.service, web.silent = "relay.example.org", False
        web.asked.clear()
    chromium.scripts(True)
    chromium.look(width=1280)
    return chromium


def show(tab: Tab, relay: RelayWeb, service: MailService = SERVICE, ports: tuple[int, ...] = (443,)) -> None:
    relay.files = settings_page(service, web_ports=ports)
    tab.open(ADDRESS)


def violations(tab: Tab) -> list[str]:
    """What axe-core has to say against the page as it is now."""
    tab.run(f"{AXE}; true")
    # Between two schemes colours are those of neither.
    tab.run(_SETTLED)
    found: dict[str, Any] = tab.run("axe.run(document, {resultTypes: ['violations', 'incomplete']})")
    assert len(found["passes"]) > 20
    return [f"{each['id']}: {each['nodes'][0]['html'][:120]}" for each in found["violations"]]


@pytest.mark.parametrize("service", VARIANTS.values(), ids=VARIANTS)
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_every_width(tab: Tab, relay: RelayWeb, tmp_path: Path, service: MailService, dark: bool) -> None:
    tab.look(width=1280, dark=dark)
    show(tab, relay, service)
    grounds = set()
    # 320 is what is left on a desk at a zoom of 400 % (WCAG 2.2, 1.4.10).
    for width in (320, 360, 768, 1280):
        tab.look(width=width, dark=dark)
        assert tab.run(_OUTSIDE) == [], width
        assert tab.run("document.documentElement.scrollWidth") <= width
        assert tab.run(_SMALL) == [], width
        assert violations(tab) == [], width
        grounds.add(tab.run("getComputedStyle(document.body).backgroundColor"))
        picture = tab.picture(whole=True)
        (tmp_path / f"{width}.png").write_bytes(picture)
        assert int.from_bytes(picture[16:20]) == width
    assert grounds == {"rgb(15, 21, 23)" if dark else "rgb(244, 245, 243)"}
    # The policy forbids nothing that the page does.
    assert tab.console == []
    assert {"index.html", "style.css", "script.js"} <= set(relay.asked) <= {*relay.files, "reach.json"}


@pytest.mark.parametrize("scheme", ["light", "dark", "forced colours"])
def test_a_reader_of_codes_reads_them(tab: Tab, relay: RelayWeb, tmp_path: Path, scheme: str) -> None:
    tab.look(width=1280, dark=scheme != "light")
    if scheme == "forced colours":
        forced = [("prefers-color-scheme", "dark"), ("forced-colors", "active")]
        tab.call("Emulation.setEmulatedMedia", features=[{"name": name, "value": value} for name, value in forced])
    show(tab, relay)
    (tmp_path / "page.png").write_bytes(tab.picture(whole=True))
    read = subprocess.run(
        ["zbarimg", "--quiet", "--raw", tmp_path / "page.png"], capture_output=True, text=True, timeout=60
    )
    assert set(read.stdout.split()) == {ADDRESS, f"{ADDRESS}postroad.mobileconfig"}


def test_a_phone_is_not_asked_to_read_itself(tab: Tab, relay: RelayWeb) -> None:
    show(tab, relay)
    seen = "[...document.querySelectorAll('.qr')].map(each => each.checkVisibility())"
    assert tab.run(seen) == [True, True]
    tab.look(width=390)
    assert tab.run(seen) == [False, False]


def test_without_script(tab: Tab, relay: RelayWeb) -> None:
    tab.scripts(False)
    show(tab, relay)
    visible = "[...document.querySelectorAll('{}')].filter(each => each.checkVisibility()).length"
    assert tab.run(visible.format(".copy, #check-button, [data-with-script]")) == 0
    assert tab.run(visible.format("[data-without-script]")) == 1
    assert "relay-agent probe relay.example.org" in tab.run("document.getElementById('check').innerText")
    # Nothing but the check and the buttons for copying is lost.
    told = "document.querySelector('{}').innerText.length"
    without = {part: tab.run(told.format(part)) for part in ("header", "#programs", "nav", "footer")}
    tab.scripts(True)
    show(tab, relay)
    assert without == {part: tab.run(told.format(part)) for part in without}
    assert tab.run(visible.format(".copy, #check-button")) > 6


_FOCUSED = """
(() => { const it = document.activeElement, box = it.getBoundingClientRect(), style = getComputedStyle(it);
  const all = [...document.querySelectorAll('*')];
  return {name: it.getAttribute('aria-label') || it.textContent.trim(), place: all.indexOf(it), tag: it.tagName,
          seen: box.top >= 0 && box.bottom <= innerHeight && box.width > 1,
          ring: style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2}; })()
"""


def test_by_keyboard_alone(tab: Tab, relay: RelayWeb) -> None:
    show(tab, relay, private())
    # Focus is looked at where it is, not on its way there.
    tab.run("document.documentElement.style.scrollBehavior = 'auto'")
    passed = []
    for _ in range(80):
        tab.press("Tab", 9)
        # What is focused is scrolled to with the next frame.
        tab.run("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        focused = tab.run(_FOCUSED)
        if focused["tag"] == "BODY":
            break
        passed.append(focused)
    assert passed[0]["name"] == "To the settings"
    assert [each["place"] for each in passed] == sorted({each["place"] for each in passed})
    assert [each for each in passed if not (each["seen"] and each["ring"] and each["name"])] == []
    operable = "[...document.querySelectorAll('a, button')].filter(each => each.checkVisibility()).length"
    assert len(passed) == tab.run(operable)
    tab.run("document.querySelector('.skip').focus()")
    tab.press("Enter", 13)
    tab.wait_for("location.hash === '#settings'")


def test_copying(tab: Tab, relay: RelayWeb) -> None:
    show(tab, relay)
    tab.call("Browser.grantPermissions", permissions=["clipboardReadWrite", "clipboardSanitizedWrite"])
    assert tab.run("document.querySelector('.copy').getAttribute('aria-label')") == "Copy: Server"
    tab.run("document.querySelector('.copy').click()")
    tab.wait_for("document.querySelector('.copy').textContent === 'Copied'")
    assert tab.run("document.getElementById('announcer').textContent") == "Copied: Server"
    assert tab.run("navigator.clipboard.readText()") == "relay.example.org"
    assert violations(tab) == []
    tab.run("navigator.clipboard.writeText = () => Promise.reject(new Error('no'))")
    tab.run("document.querySelectorAll('.copy')[1].click()")
    tab.wait_for("document.getElementById('announcer').textContent === 'Could not copy'")
    tab.wait_for("document.querySelectorAll('.copy')[1].textContent === 'Copy'")


def check(tab: Tab, relay: RelayWeb, *ports: int) -> tuple[str, list[str]]:
    """What the page says after its button was pressed: the verdict with its hint, and a line for each port."""
    if ports:
        show(tab, relay, SERVICE, ports)
    tab.run("document.getElementById('check-button').focus()")
    tab.press("Enter", 13)
    tab.wait_for("document.querySelector('.knocks')")
    tab.wait_for("document.getElementById('check-answer').getAttribute('aria-busy') === 'false'")
    # Whoever pressed it by keyboard is still there.
    assert tab.run("document.activeElement.id") == "check-button"
    assert tab.run("document.getElementById('check-button').textContent") == "Check again"
    said = tab.run("[...document.querySelectorAll('#check-answer p')].map(each => each.textContent)")
    lines: list[str] = tab.run("[...document.querySelectorAll('.knocks li')].map(each => each.textContent)")
    return " ".join(said), lines


def test_the_relay_answers(tab: Tab, relay: RelayWeb, second: RelayWeb) -> None:
    said, lines = check(tab, relay, 443, 8443)
    assert said == (
        "Yes: the relay answers in this network. Port 443 with SSL/TLS should get through for your mail program, too."
    )
    assert [line.rpartition(" in ")[0] for line in lines] == ["Port 443: answered", "Port 8443: answered"]
    assert all(0 < int(line.split()[-2]) < 10_000 for line in lines)
    assert (relay.asked.count("reach.json"), second.asked.count("reach.json")) == (1, 1)
    assert tab.console == []
    assert violations(tab) == []


def test_a_port_that_nobody_is_behind(tab: Tab, relay: RelayWeb) -> None:
    said, lines = check(tab, relay, 443, 9443)
    assert said.startswith("Yes")
    assert lines[1] == "Port 9443: not reached; it is blocked here, or the certificate is not trusted"
    tab.look(width=1280, dark=True)
    assert violations(tab) == []


def test_somebody_else_answers(tab: Tab, relay: RelayWeb) -> None:
    show(tab, relay)
    for service in (None, "elsewhere.example.net"):
        relay.service = service
        said, lines = check(tab, relay)
        assert said.startswith("No: the relay does not answer from here. Try another network")
        assert lines == ["Port 443: somebody answered, but not as the relay does"]


def test_nobody_answers(tab: Tab, relay: RelayWeb) -> None:
    # The page waits ten seconds; here they are a fifth of one.
    hurry = "const timer = setTimeout; setTimeout = (what, time) => timer(what, time / 50);"
    added = tab.call("Page.addScriptToEvaluateOnNewDocument", source=hurry)
    relay.silent = True
    said, lines = check(tab, relay, 443)
    tab.call("Page.removeScriptToEvaluateOnNewDocument", identifier=added["identifier"])
    assert said.startswith("No:")
    assert lines == ["Port 443: no answer in 10 seconds"]


def test_the_relay_is_gone_and_comes_back(tab: Tab, relay: RelayWeb) -> None:
    show(tab, relay)
    relay.__exit__()
    try:
        said, lines = check(tab, relay)
        assert said.startswith("No:")
        assert lines == ["Port 443: not reached; it is blocked here, or the certificate is not trusted"]
        assert violations(tab) == []
        tab.run("Object.defineProperty(navigator, 'onLine', {value: false})")
        assert check(tab, relay)[0].endswith("Your device says that it is not connected to any network.")
    finally:
        relay.__enter__()
    assert check(tab, relay)[0].startswith("Yes:")


def test_on_paper(tab: Tab, relay: RelayWeb) -> None:
    show(tab, relay, private())
    tab.look(width=700, media="print")
    visible = "[...document.querySelectorAll({})].filter(each => each.checkVisibility()).length"
    assert tab.run(visible.format(json.dumps("nav, button, .button, .skip"))) == 0
    assert tab.run(visible.format("'.qr'")) == 2
    assert ADDRESS in tab.run("document.querySelector('header').innerText")
    assert tab.run(_OUTSIDE) == []


def test_who_wants_no_motion_gets_none(tab: Tab, relay: RelayWeb) -> None:
    show(tab, relay)
    moves = "getComputedStyle(document.querySelector('.button')).transitionDuration"
    smooth = "getComputedStyle(document.documentElement).scrollBehavior"
    assert (tab.run(moves), tab.run(smooth)) != ("0s", "auto")
    tab.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-reduced-motion", "value": "reduce"}])
    assert (tab.run(moves), tab.run(smooth)) == ("0s", "auto")
