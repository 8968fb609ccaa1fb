# SPDX-License-Identifier: GPL-3.0-or-later
"""Lays a commit of this repository out whose queue has an earlier schema, with all that its site.yml needs.

``earlier_checkout.py DIRECTORY HOSTS``: the checkout, and beside it an inventory with the lab's hosts and that
commit's own variables. Nothing is fetched: the commit has to be in this clone.
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


def wanted_commit() -> str:
    """The commit to lay out: the preferred one, or the newest in this clone that has the schema.

    Exits with what is missing when this clone has none.
    """
    try:
        _git("rev-parse", "--git-dir")
    except (OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"the scenario upgrade needs git and a clone of the repository, not only its files: {error}")
    if _schema(_PREFERRED) == _SCHEMA:
        return _PREFERRED
    for commit in _git("log", "--format=%H", "HEAD", "--", _SCHEMA_FILE).decode().split():
        if _schema(commit) == _SCHEMA:
            return commit
    shallow = _git("rev-parse", "--is-shallow-repository").decode().strip() == "true"
    cause = "this clone is shallow: `git fetch --unshallow` brings its history" if shallow else "its history was cut"
    sys.exit(
        f"the scenario upgrade needs a commit whose queue has schema {_SCHEMA}, such as {_PREFERRED[:12]}, and there "
        f"is none here: {cause}"
    )


def main() -> int:
    """Lay out the commit and the inventory."""
    directory, hosts = Path(sys.argv[1]), Path(sys.argv[2])
    shutil.rmtree(directory, ignore_errors=True)
    checkout, inventory = directory / "checkout", directory / "inventory"
    commit = wanted_commit()
    checkout.mkdir(parents=True)
    with tarfile.open(fileobj=io.BytesIO(_git("archive", "--format=tar", commit))) as archive:
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
    print(commit)
    return 0


if __name__ == "__main__":
    sys.exit(main())
