# SPDX-License-Identifier: GPL-3.0-or-later
"""Lays a commit of this repository out whose queue has an earlier schema, with all that its site.yml needs.

``earlier_checkout.py DIRECTORY HOSTS``: the checkout, and beside it an inventory with the lab's hosts and that
commit's own variables. Nothing is fetched: where this clone has no such commit, because it is shallow or only files,
the archive beside this program stands in, which `git archive` made of the preferred one (without tests and pages).
"""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

__all__ = ["main", "wanted_commit"]

_ROOT = Path(__file__).resolve().parents[2]
# The last release before accounts took turns; any other commit with this schema does as well.
_PREFERRED = "10199b7030550b847bc719e28b1925522bc68f7c"
_ARCHIVE = Path(__file__).with_name("earlier.tar.xz")
_SCHEMA = 1
_SCHEMA_FILE = "relay_agent/queue/schema.py"


def _git(*arguments: str) -> bytes:
    return subprocess.run(["git", "-C", str(_ROOT), *arguments], check=True, capture_output=True).stdout


def _schema(commit: str) -> int | None:
    try:
        text = _git("show", f"{commit}:{_SCHEMA_FILE}").decode()
    except subprocess.CalledProcessError:
        return None
    found = re.search(r"^SCHEMA_VERSION = (\d+)$", text, re.MULTILINE)
    return int(found[1]) if found else None


def wanted_commit() -> str | None:
    """The commit to lay out: the preferred one, or the newest here that has the schema; None: there is none."""
    try:
        _git("rev-parse", "--git-dir")
        if _schema(_PREFERRED) == _SCHEMA:
            return _PREFERRED
        for commit in _git("log", "--format=%H", "HEAD", "--", _SCHEMA_FILE).decode().split():
            if _schema(commit) == _SCHEMA:
                return commit
    except (OSError, subprocess.CalledProcessError):
        pass  # no git, or no clone
    return None


def main() -> int:
    """Lay out the commit and the inventory."""
    directory, hosts = Path(sys.argv[1]), Path(sys.argv[2])
    shutil.rmtree(directory, ignore_errors=True)
    checkout, inventory = directory / "checkout", directory / "inventory"
    commit = wanted_commit()
    checkout.mkdir(parents=True)
    content = _git("archive", "--format=tar", commit) if commit is not None else _ARCHIVE.read_bytes()
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        archive.extractall(checkout, filter="data")
    # Its collection, as `make venv` would link it. The programs are those of this checkout.
    collections = checkout / ".venv/collections/ansible_collections/postroad"
    collections.mkdir(parents=True)
    (collections / "relay").symlink_to(checkout)
    # What both need of packages is downloaded once.
    (_ROOT / ".build").mkdir(exist_ok=True)
    (checkout / ".build").symlink_to(_ROOT / ".build")
    inventory.mkdir()
    shutil.copy(hosts, inventory / "hosts.json")
    (inventory / "group_vars").symlink_to(checkout / "inventories/lab/group_vars")
    print(commit or f"{_PREFERRED}, from {_ARCHIVE.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
