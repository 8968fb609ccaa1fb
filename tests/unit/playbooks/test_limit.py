# SPDX-License-Identifier: GPL-3.0-or-later
"""Playbooks that take relays out of service do nothing at all unless they are told for which hosts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("playbook", ["drain", "decommission", "restore", "queue_downgrade"])
def test_without_a_limit_nothing_is_touched(tmp_path: Path, playbook: str) -> None:
    inventory = tmp_path / "hosts.yml"
    # Hosts that nobody can reach: whatever is asked of them fails in other words.
    hosts = {"relay1": {"ansible_host": "192.0.2.1"}, "relay2": {"ansible_host": "192.0.2.2"}}
    inventory.write_text(json.dumps({"relays": {"hosts": hosts}}))
    done = subprocess.run(
        [
            str(Path(sys.executable).with_name("ansible-playbook")),
            f"--inventory={inventory}",
            "--extra-vars=relay_queue_schema=1 relay_restore_file=backup.tar",
            str(_ROOT / "playbooks" / f"{playbook}.yml"),
        ],
        env={**os.environ, "ANSIBLE_CONFIG": str(_ROOT / "ansible.cfg"), "ANSIBLE_HOME": str(tmp_path / "ansible")},
        cwd=_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stdout + done.stderr
    assert "with --limit" in done.stdout
    assert "Nothing was touched." in " ".join(done.stdout.split())
    assert "UNREACHABLE" not in done.stdout
