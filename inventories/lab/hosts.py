#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's hosts, for ``ansible-playbook -i inventories/lab``.

Prints what ``create`` wrote for the lab that is named by POSTROAD_LAB, by default the one of ``make up``.
"""

import json
import os
import sys
from pathlib import Path


def main() -> int:
    """Print the inventory in the form that Ansible expects of a script."""
    lab = os.environ.get("POSTROAD_LAB", "up")
    written = Path(__file__).resolve().parents[2] / ".lab" / lab / "inventory" / "hosts.json"
    try:
        everything = json.loads(written.read_text())["all"]
    except FileNotFoundError:
        sys.stderr.write(f"the lab {lab} is not there: run `make up` first\n")
        return 1
    groups = everything["children"]
    listing = {name: {"hosts": list(group["hosts"])} for name, group in groups.items()}
    hostvars = {host: variables for group in groups.values() for host, variables in group["hosts"].items()}
    whole = {"all": {"vars": everything["vars"], "children": list(groups)}, "_meta": {"hostvars": hostvars}}
    json.dump({**listing, **whole}, sys.stdout, indent=2)
    return 0


if __name__ == "__main__":
    sys.exit(main())
