# SPDX-License-Identifier: GPL-3.0-or-later
import http.server
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from relay_agent.config.schema import OAuth
from relay_agent.oauth import keys as keys_module
from relay_agent.oauth.keys import KeySource, KeysUnavailableError
from tests.integration.certificates import Certificate, make_certificate

from .issuer import ISSUER, Issuer, key_set


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def source(path: Path, clock: Clock) -> KeySource:
    return KeySource(OAuth(issuer=ISSUER, audience=("postroad",), jwks_file=path, refresh="1h"), clock)


async def test_a_new_key_is_found_and_an_invented_one_costs_little(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "keys.json"
    path.write_text(key_set(Issuer("one")))
    keys = source(path, clock)
    assert await keys.find("one") is not None
    path.write_text(key_set(Issuer("two")))
    assert await keys.find("two") is None  # asked for a moment ago
    clock.now += 61
    assert await keys.find("two") is not None
    assert await keys.find("one") is None


async def test_old_keys_serve_while_the_issuer_is_away(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "keys.json"
    path.write_text(key_set(Issuer("one")))
    keys = source(path, clock)
    assert await keys.find("one") is not None
    path.unlink()
    clock.now += 7200
    assert await keys.find("one") is not None


async def test_a_single_key_needs_no_id(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "keys.json"
    path.write_text(key_set(Issuer("one")))
    assert await source(path, clock).find(None) is not None


class Site(http.server.BaseHTTPRequestHandler):
    """Serves the keys, a redirect to them, and an endless file."""

    content = b""

    def do_GET(self) -> None:
        if self.path == "/elsewhere":
            self.send_response(302)
            self.send_header("Location", "/keys")
            self.end_headers()
            return
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.content if self.path == "/keys" else b" " * (keys_module._LARGEST + 1))

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Certificate]]:
    certificate = make_certificate(tmp_path_factory.mktemp("site"), "localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.certificate, certificate.key)
    Site.content = key_set(Issuer("one")).encode()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"https://localhost:{server.server_address[1]}", certificate
        server.shutdown()
        thread.join()


async def test_from_a_url(site: tuple[str, Certificate], clock: Clock) -> None:
    url, certificate = site

    def over(path: str, ca_file: Path | None) -> KeySource:
        config = OAuth(issuer=ISSUER, audience=("postroad",), jwks_url=url + path, ca_file=ca_file)
        return KeySource(config, clock)

    keys = over("/keys", certificate.certificate)
    keys.prefetch()
    assert await keys.find("one") is not None
    for path, ca_file, problem in (
        ("/keys", None, "certificate verify failed"),
        ("/elsewhere", certificate.certificate, "302"),
        ("/large", certificate.certificate, "larger than"),
    ):
        with pytest.raises(KeysUnavailableError, match=problem):
            await over(path, ca_file).find("one")
