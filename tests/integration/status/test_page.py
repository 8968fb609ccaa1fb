# SPDX-License-Identifier: GPL-3.0-or-later
"""The page of the fleet as a browser lays it out: at every width nothing sticks out, and text can be read.

The page forbids scripts; it is looked at from a page around it, in Debian's chromium.
"""

from __future__ import annotations

import html
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from status_example import fleet, page_of, screenshot

_LOOK = """
<!DOCTYPE html><meta charset="utf-8"><pre id="seen"></pre>
<iframe id="page" style="border: 0; width: WIDTHpx; height: 4000px" srcdoc="PAGE"></iframe>
<script>
document.getElementById("page").addEventListener("load", event => {
  const inner = event.target.contentDocument, view = event.target.contentWindow;
  const all = query => [...inner.querySelectorAll(query)];
  const box = each => each.getBoundingClientRect();
  const outside = each => box(each).width > 1 && (box(each).right > WIDTH + 1 || box(each).left < -1);
  const texts = all("h1, h2, p, td, th, li, dt, dd, svg, figcaption, caption");
  document.getElementById("seen").textContent = JSON.stringify({
    width: inner.documentElement.scrollWidth,
    out: texts.filter(outside).map(each => each.tagName + ": " + each.textContent.slice(0, 60)),
    bars: all("svg.chart rect.bar").map(each => Math.round(box(each).width)),
    ground: view.getComputedStyle(inner.body).backgroundColor,
    heads: all("thead").map(each => box(each).height > 5),
  });
});
</script>
"""


def look(tmp_path: Path, width: int, *, dark: bool = False) -> dict[str, Any]:
    """What a browser of this width makes of the page; pixels."""
    around = _LOOK.replace("WIDTH", str(width)).replace("PAGE", html.escape(page_of(fleet())))
    (tmp_path / "around.html").write_text(around)
    scheme = f"--blink-settings=preferredColorScheme={0 if dark else 1}"
    done = subprocess.run(
        [
            *("chromium", "--headless=new", "--no-sandbox", "--disable-gpu", scheme),
            *(f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1600,1000", "--virtual-time-budget=3000"),
            *("--dump-dom", (tmp_path / "around.html").as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    _, _, after = done.stdout.partition('<pre id="seen">')
    seen: dict[str, Any] = json.loads(html.unescape(after.partition("</pre>")[0]))
    return seen


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_nothing_sticks_out(tmp_path: Path, width: int) -> None:
    seen = look(tmp_path, width)
    assert seen["out"] == []
    assert seen["width"] <= width
    assert max(seen["bars"]) <= width
    assert max(seen["bars"]) > width / 4
    # Rows are cards where there is no room for columns.
    assert any(seen["heads"]) is (width > 960)


def test_dark_is_dark(tmp_path: Path) -> None:
    assert look(tmp_path, 768)["ground"] == "rgb(245, 246, 248)"
    assert look(tmp_path, 768, dark=True)["ground"] == "rgb(16, 20, 27)"


def test_a_picture_of_it(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(page_of(fleet()))
    screenshot(tmp_path / "page.html", tmp_path / "page.png", width=1000, height=800)
    header = (tmp_path / "page.png").read_bytes()[:24]
    assert header[:8] == b"\x89PNG\r\n\x1a\n"
    assert (int.from_bytes(header[16:20]), int.from_bytes(header[20:24])) == (1000, 800)
