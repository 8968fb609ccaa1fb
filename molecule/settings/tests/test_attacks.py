# SPDX-License-Identifier: GPL-3.0-or-later
"""What others may try: by what they ask for, from another host, and as a user of the relay's host."""

import shlex
from collections.abc import Callable
from typing import Any

import pytest
from traffic.pages import Get
from traffic.relays import Relay

POX = "/autodiscover/autodiscover.xml"


@pytest.mark.parametrize(
    "address",
    [
        "a@alpha.test</EMailAddress><LoginName>eve@evil.test",
        "a@alpha.test&quot;&lt;Server&gt;evil.test",
        "<!ENTITY x SYSTEM 'file:///etc/passwd'>&x;@alpha.test",
        "%EMAILADDRESS%@alpha.test",
        "$host@alpha.test",
        "a@alpha.test\n<Server>evil.test</Server>",
        "a" * 65 + "@alpha.test",
    ],
)
def test_nothing_but_a_plain_address_gets_into_an_answer(get: Get, laptop: Any, address: str) -> None:
    request = f"<Autodiscover><Request><EMailAddress>{address}</EMailAddress></Request></Autodiscover>"
    page = get("relay1", POX, "--data-binary", request)
    assert page.status == 200
    laptop.check_output("xmllint --noout --relaxng /root/files/autodiscover.rng /root/body")
    assert "evil" not in page.text
    assert "root:" not in page.text
    assert page.text.count("<Server>") == 2


@pytest.mark.parametrize("path", [POX, "/mail/config-v1.1.xml", "/reach.json"])
def test_a_query_changes_nothing(get: Get, path: str) -> None:
    query = "?emailaddress=%3C/domain%3E%3Cscript%3Ealert(1)%3C/script%3E&Email=%22%3E%3Cb%3E"
    assert get("relay1", path + query).body == get("relay1", path).body


@pytest.mark.parametrize(
    "path",
    [
        "/../answers/autodiscover-named.xml",
        "/..%2fnginx.conf",
        "/%2e%2e/profile.plist",
        "/mail/..%2f..%2fnginx.conf",
        "/.well-known/acme-challenge/../../../etc/passwd",
        "/.well-known/acme-challenge/..%2f..%2f..%2fetc%2fpasswd",
        "/autodiscover/autodiscover.json/../../nginx.conf?Protocol=x",
        "/outlook.xml",
        "/nobody",
        "//etc/passwd",
        "/mail/",
        "/postroad.mobileconfig/",
    ],
)
def test_no_path_leads_to_anything_else(get: Get, path: str) -> None:
    page = get("relay1", path)
    assert page.status in (400, 403, 404), page
    assert b"root:" not in page.body
    assert b"proxy_protocol" not in page.body


def test_what_is_too_large_is_refused(get: Get) -> None:
    assert get("relay1", f"/reach.json?emailaddress={'a' * 60_000}").status == 414
    assert get("relay1", POX, "--data", "<EMailAddress>" + "a" * 40_000).status == 413
    assert get("relay1", "/reach.json", "--data", "a").status == 405
    assert get("relay1", "/reach.json", "--request", "DELETE").status == 405


def test_another_host_s_name_gets_into_no_answer(get: Get) -> None:
    for scheme in ("http", "https"):
        page = get("relay1", "/nothing?a=b", "--header", "Host: evil.test", scheme=scheme)
        assert "evil" not in page.text + str(page.headers)
    page = get("relay1", "/", "--request-target", "http://evil.test/nothing", scheme="http")
    assert page.headers["location"] == "https://relay1.postroad.test/nothing"


def test_the_web_server_is_reached_from_its_own_host_alone(laptop: Any, relays: dict[str, Relay]) -> None:
    listening = relays["relay1"].host.check_output("ss -Hltnp 'sport = :880'")
    assert "127.0.0.1:880 " in listening
    assert len(listening.splitlines()) == 1
    assert laptop.run("curl --silent --max-time 3 http://relay1.postroad.test:880/reach.json").rc != 0


@pytest.fixture
def local_user(relays: dict[str, Relay]) -> Callable[[str], Any]:
    """Runs Python as a user of the relay's host who has no rights there."""
    host = relays["relay1"].host
    return lambda code: host.run(f"sudo -u nobody python3 -c {shlex.quote(code)}")


def test_a_local_user_who_forges_a_header_gets_what_everybody_gets(local_user: Callable[[str], Any], get: Get) -> None:
    """An address is used for the limit of connections alone, and no answer depends on it."""
    ask = (
        "import socket\ns = socket.create_connection(('127.0.0.1', 880), 5)\n"
        "s.sendall(b'{}GET /mail/config-v1.1.xml HTTP/1.0\\r\\n\\r\\n')\nb = b''\n"
        "while (more := s.recv(65536)): b += more\nprint(b.decode())"
    )
    forged = local_user(ask.format("PROXY TCP4 127.0.0.1 127.0.0.1 1 443\\r\\n")).stdout
    assert forged.replace("\r", "").partition("\n\n")[2].strip() == get("relay1", "/mail/config-v1.1.xml").text.strip()
    # One without a header is not understood.
    assert "clientConfig" not in local_user(ask.format("")).stdout


def test_a_local_user_cannot_stand_in_for_the_web_server(local_user: Callable[[str], Any]) -> None:
    taken = local_user("import socket; s = socket.socket(); s.bind(('127.0.0.2', 880))")
    assert "PermissionError" in taken.stderr


def test_the_web_server_sees_neither_keys_nor_queue(relays: dict[str, Relay]) -> None:
    host = relays["relay1"].host
    pid = host.check_output("systemctl show --property=MainPID --value postroad-settings.service")
    user = host.check_output(f"stat --format %U /proc/{pid}")
    assert user not in ("root", "postroad", "www-data")
    for place in ("/etc/postroad/tls/privkey.pem", "/etc/postroad/accounts.toml", "/var/lib/postroad/queue"):
        seen = host.run(f"nsenter --target {pid} --mount ls {place}")
        assert seen.rc != 0, place


def test_other_sites_of_the_host_are_left_alone(relays: dict[str, Relay]) -> None:
    host = relays["relay1"].host
    assert host.check_output("find /etc/nginx -newer /etc/machine-id -type f | wc -l") == "0"
    assert host.run("systemctl is-enabled nginx.service").stdout.strip() == "disabled"
