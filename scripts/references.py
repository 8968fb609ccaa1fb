# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes the pages that are generated. `--check` only compares."""

from __future__ import annotations

import sys
from collections.abc import Callable

from metrics_reference import monitoring_page
from role_reference import roles_page
from streaming import ROOT

from relay_agent.config.reference import reference

PAGES: dict[str, Callable[[], str]] = {
    "docs/roles.md": roles_page,
    "docs/configuration.md": reference,
    "docs/monitoring.md": monitoring_page,
}


def main() -> int:
    """Write every page, or with --check name those that differ; exit status 1 when one does."""
    check = sys.argv[1:] == ["--check"]
    stale = 0
    for name, page in PAGES.items():
        path, text = ROOT / name, page()
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        if check:
            print(f"{name} is not what it is generated from: run `make docs`")
            stale += 1
        else:
            path.write_text(text, encoding="utf-8")
            print(f"{name}: written")
    return int(stale > 0)


if __name__ == "__main__":
    sys.exit(main())
