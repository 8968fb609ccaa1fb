# SPDX-License-Identifier: GPL-3.0-or-later
"""Every address at which programs look, at each relay: the answer, its form, and what browsers are told with it."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from traffic.pages import Get

RELAYS = ("relay1", "relay2")
POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self' data:; script-src 'self'; connect-src 'self' https:; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
AUTOCONFIG = ("/mail/config-v1.1.xml", "/.well-known/autoconfig/mail/config-v1.1.xml")
REQUEST = (
    '<?xml version="1.0" encoding="utf-8"?>\n<Autodiscover '
    'xmlns="http://schemas.microsoft.com/exchange/autodiscover/outlook/requestschema/2006"><Request>'
    "<EMailAddress>alice@alpha.test</EMailAddress><AcceptableResponseSchema>http://schemas.microsoft.com/exchange/"
    "autodiscover/outlook/responseschema/2006a</AcceptableResponseSchema></Request></Autodiscover>"
)


@pytest.fixture
def is_valid(laptop: Any) -> Callable[[str], None]:
    """Holds the last answer against a schema."""
    return lambda schema: laptop.check_output(f"xmllint --noout --relaxng /root/files/{schema} /root/body")


@pytest.mark.parametrize("relay", RELAYS)
@pytest.mark.parametrize("path", AUTOCONFIG)
@pytest.mark.parametrize("query", ["", "?emailaddress=alice%40alpha.test"])
def test_autoconfig(get: Get, is_valid: Callable[[str], None], relay: str, path: str, query: str) -> None:
    page = get(relay, path + query)
    assert (page.status, page.headers["content-type"]) == (200, "text/xml; charset=utf-8")
    assert f"<hostname>{relay}.postroad.test</hostname>" in page.text
    is_valid("autoconfig.rng")


@pytest.mark.parametrize("name", ["autoconfig.alpha.test", "alpha.test"])
def test_by_the_domain_s_own_names_programs_are_led_to_the_name_of_the_certificate(
    get: Get, laptop: Any, name: str
) -> None:
    page = get("relay1", AUTOCONFIG[0], "--header", f"Host: {name}", scheme="http")
    assert (page.status, page.headers["location"]) == (302, f"https://relay1.postroad.test{AUTOCONFIG[0]}")
    followed = f"curl --silent --fail --location --cacert /root/relay-authority.pem http://{name}{AUTOCONFIG[0]}"
    assert "<clientConfig" in laptop.check_output(followed)


def test_a_domain_s_own_name_that_is_in_the_certificate_is_answered_at_once(laptop: Any) -> None:
    place = f"https://autoconfig.beta.test{AUTOCONFIG[0]}?emailaddress=bob%40beta.test"
    asked = f"curl --silent --fail --cacert /root/relay-authority.pem '{place}'"
    assert "<hostname>relay1.postroad.test</hostname>" in laptop.check_output(asked)


@pytest.mark.parametrize("relay", RELAYS)
@pytest.mark.parametrize("path", ["/autodiscover/autodiscover.xml", "/AutoDiscover/AutoDiscover.xml"])
def test_autodiscover(get: Get, is_valid: Callable[[str], None], relay: str, path: str) -> None:
    page = get(relay, path, "--header", "Content-Type: text/xml", "--data", REQUEST)
    assert (page.status, page.headers["content-type"]) == (200, "text/xml; charset=utf-8")
    is_valid("autodiscover.rng")
    assert page.text.count("<LoginName>alice@alpha.test</LoginName>") == 2
    page = get(relay, path)
    assert page.status == 200
    is_valid("autodiscover.rng")
    assert "LoginName" not in page.text


@pytest.mark.parametrize("relay", RELAYS)
@pytest.mark.parametrize(
    "path",
    [
        "/autodiscover/autodiscover.json?Email=alice%40alpha.test&Protocol=AutodiscoverV1",
        "/autodiscover/autodiscover.json/v1.0/alice@alpha.test?Protocol=autodiscoverv1",
    ],
)
def test_autodiscover_in_json(get: Get, relay: str, path: str) -> None:
    page = get(relay, path)
    assert (page.status, page.headers["content-type"]) == (200, "application/json; charset=utf-8")
    where = f"https://{relay}.postroad.test/autodiscover/autodiscover.xml"
    assert json.loads(page.body) == {"Protocol": "AutodiscoverV1", "Url": where}
    assert get(relay, "/autodiscover/autodiscover.json?Email=a&Protocol=ActiveSync").status == 400


@pytest.mark.parametrize("relay", RELAYS)
def test_the_page_for_people_and_all_that_it_leads_to(get: Get, relay: str) -> None:
    page = get(relay, "/")
    assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "Alpha &amp; Beta mail" in page.text
    links = set(re.findall(r'(?:href|src)="([^"#:]+)"', page.text))
    assert {"style.css", "script.js", "postroad.mobileconfig"} <= links
    assert ("ca.pem" in links) == (relay == "relay1")
    assert {link: get(relay, f"/{link}").status for link in links} == dict.fromkeys(links, 200)


def test_the_authority_is_given_where_it_is_the_fleet_s_own(get: Get) -> None:
    page = get("relay1", "/ca.pem")
    assert (page.status, page.headers["content-type"]) == (200, "application/x-x509-ca-cert")
    assert page.text.startswith("-----BEGIN CERTIFICATE-----")
    assert get("relay2", "/ca.pem").status == 404


@pytest.mark.parametrize("relay", RELAYS)
def test_a_page_of_any_site_may_ask_whether_the_port_is_reached(get: Get, relay: str) -> None:
    page = get(relay, "/reach.json", "--header", "Origin: https://other.test")
    assert json.loads(page.body) == {"service": f"{relay}.postroad.test"}
    assert page.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-origin" not in get(relay, AUTOCONFIG[0]).headers


@pytest.mark.parametrize("path", ["/reach.json", "/nothing", "/autodiscover/autodiscover.json"])
def test_what_browsers_are_told_with_every_answer(get: Get, path: str) -> None:
    headers = get("relay1", path).headers
    assert headers["content-security-policy"] == POLICY
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["server"] == "nginx"
    assert "strict-transport-security" not in headers


@pytest.mark.parametrize("relay", RELAYS)
def test_port_80_sends_browsers_on_to_tls(get: Get, relay: str) -> None:
    page = get(relay, "/reach.json?x=%0d%0aSet-Cookie:+a=b", scheme="http")
    assert page.status == 302
    assert page.headers["location"] == f"https://{relay}.postroad.test/reach.json?x=%0d%0aSet-Cookie:+a=b"
    assert "set-cookie" not in page.headers
