# SPDX-License-Identifier: GPL-3.0-or-later
"""await_arrivals: arrivals, losses, and that refused messages are not waited for."""

import time
from pathlib import Path
from typing import Any

import yaml
from ansible_collections.postroad.relay.plugins.modules import await_arrivals


def probe(message_id: str, *, ok: bool = True) -> dict[str, Any]:
    return {"message_id": message_id, "ok": ok, "submitted": time.time()}


def test_one_is_there_one_is_lost_one_was_refused(tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "1.a").write_text("Message-ID: <1@a>\n\n")
    probes = [probe("<1@a>"), probe("<2@a>"), probe("<3@a>", ok=False)]
    result = await_arrivals.await_all(probes, {"type": "maildir", "path": str(tmp_path)}, 0.2)
    assert list(result["arrivals"]) == ["<1@a>"]
    assert result["lost"] == {"<2@a>": "not there 0 s after the relay took it"}


def test_nothing_taken_means_nothing_to_wait_for() -> None:
    result = await_arrivals.await_all([probe("<1@a>", ok=False)], {"type": "maildir", "path": "/nonexistent"}, 60)
    assert result == {"arrivals": {}, "lost": {}}


def test_documentation_names_every_option() -> None:
    documented = yaml.safe_load(await_arrivals.DOCUMENTATION)["options"]
    assert documented.keys() == await_arrivals.ARGUMENTS.keys()
    assert documented["mailbox"]["options"].keys() == await_arrivals.ARGUMENTS["mailbox"]["options"].keys()
