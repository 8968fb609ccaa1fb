# SPDX-License-Identifier: GPL-3.0-or-later
"""`make check-inventory`: judges an inventory without its hosts, and shows what would be on each of them.

Needs neither a connection nor, as far as possible, the vault's password: what is in a vault that cannot be opened is
taken for a text, and said so. Exit status: 0 good, 1 with every problem listed, 2 when it could not be looked at.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from streaming import ROOT

FORMAT = 1
"""Of the JSON: raised when a key changes its meaning or goes away."""


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="check-inventory", description="Judge an inventory without its hosts.")
    parser.add_argument("inventory", type=Path, help="directory or file, as of ansible-playbook -i")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write what would be on each host below DIR")
    parser.add_argument("--show", action="store_true", help="print what would be on each host")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.add_argument("-e", "--extra-vars", action="append", default=[], metavar="VARS")
    parser.add_argument("--vault-password-file", action="append", default=[], metavar="FILE")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """See the module's documentation."""
    options = parse(arguments)
    if not options.inventory.exists():
        return _not_looked_at(f"{options.inventory} does not exist")
    # Ansible reads its settings as it is imported, and finds collections by its own importer.
    os.environ.setdefault("ANSIBLE_CONFIG", str(ROOT / "ansible.cfg"))
    os.environ.setdefault("ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED", "1")
    from ansible.errors import AnsibleError
    from ansible.plugins.loader import init_plugin_loader

    init_plugin_loader()
    from ansible_collections.postroad.relay.plugins.plugin_utils.inventory_preview import (
        between_hosts,
        render,
        same_settings,
        write_files,
    )
    from inventory_judge import GROUP, Judge, shown

    try:
        hosts = Judge(options.inventory, options.extra_vars, options.vault_password_file).hosts()
    except AnsibleError as error:
        return _not_looked_at(str(error.message))
    if not hosts:
        return _not_looked_at(f"{options.inventory} has no host in the group {GROUP}")
    problems = [problem for preview in hosts for problem in preview.problems] + list(between_hosts(hosts))
    for preview in hosts:
        if preview.problems:
            # What is half wrong would be half shown.
            preview.files = {}
    same_settings(hosts)
    written = write_files(options.out, hosts) if options.out else []
    if options.json:
        told = [
            {"host": each.host, "hostname": each.hostname, "notes": each.notes, "files": each.files} for each in hosts
        ]
        record = {"format": FORMAT, "good": not problems, "problems": [asdict(each) for each in problems]}
        print(json.dumps(record | {"hosts": told}, indent=2))
    else:
        print(render(hosts, problems, show_files=options.show))
        if written:
            print(f"{len(written)} files written below {shown(options.out.resolve())}")
    return 1 if problems else 0


def _not_looked_at(why: str) -> int:
    print(f"check-inventory: {why}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
