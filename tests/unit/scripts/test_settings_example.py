# SPDX-License-Identifier: GPL-3.0-or-later
"""The made-up service is one that a relay could have, and its page is written whole."""

from pathlib import Path

from ansible_collections.postroad.relay.plugins.plugin_utils.settings.page import settings_page
from settings_example import SERVICE, main, private


def test_the_files_are_written(tmp_path: Path) -> None:
    assert main([str(tmp_path)]) == 0
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == settings_page(SERVICE)


def test_an_authority_of_its_own(tmp_path: Path) -> None:
    assert main(["--private", str(tmp_path)]) == 0
    assert 'href="ca.pem"' in (tmp_path / "index.html").read_text()
    assert private().authority.startswith("-----BEGIN CERTIFICATE-----")
