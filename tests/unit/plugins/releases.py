# SPDX-License-Identifier: GPL-3.0-or-later
"""Archives in the form of a release of the agent, with next to nothing in them."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

__all__ = ["BROKEN", "GOOD", "archive"]

GOOD = "import sys\ndef main():\n    print(sys.argv[1:])\n    return 0\n"
BROKEN = "import sys\ndef main():\n    print('no ssl here', file=sys.stderr)\n    return 1\n"


def archive(path: Path, release: str, main: str = GOOD, extra: dict[str, bytes] | None = None) -> Path:
    files = {
        "site-packages/relay_agent/__init__.py": b"",
        "site-packages/relay_agent/cli/__init__.py": b"",
        "site-packages/relay_agent/cli/main.py": main.encode(),
        "release.json": json.dumps({"id": release}).encode(),
        **(extra or {}),
    }
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path
