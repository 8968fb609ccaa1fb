# SPDX-License-Identifier: GPL-3.0-or-later
"""The codes hold exactly the modules that the library made, with light around them."""

import re

import segno
from ansible_collections.postroad.relay.plugins.plugin_utils.settings.qr import qr_code

ADDRESS = "https://relay.example.org/postroad.mobileconfig"


def drawn(svg: str) -> tuple[int, set[tuple[int, int]]]:
    """The side of the picture, and its dark modules as (x, y)."""
    side = re.search(r'viewBox="0 0 (\d+) \1"', svg)
    assert side
    dark = set()
    for x, y, length, back in re.findall(r"M(\d+) (\d+)h(\d+)v1h-(\d+)z", svg):
        assert length == back
        dark |= {(int(x) + step, int(y)) for step in range(int(length))}
    return int(side[1]), dark


def test_it_is_the_librarys_code() -> None:
    side, dark = drawn(qr_code(ADDRESS))
    rows = segno.make_qr(ADDRESS, error="m").matrix
    assert side == len(rows) + 8
    assert dark == {(x + 4, y + 4) for y, row in enumerate(rows) for x, module in enumerate(row) if module}


def test_it_has_a_path_and_nothing_else() -> None:
    assert re.fullmatch(r'<svg [^<>]*><path d="[Mhvz0-9 -]+"/></svg>', qr_code(ADDRESS))


def test_what_is_hostile_is_in_the_code_alone() -> None:
    assert "script" not in qr_code('https://x/"><script>')
