# SPDX-License-Identifier: GPL-3.0-or-later
import re
from pathlib import Path

import pytest

from relay_agent.observability import measured
from relay_agent.observability.measured import REGISTRY, reason_of

SOURCE = Path(measured.__file__).parents[1]
USES = re.compile(r"\bmeasured\.([A-Z_]+)")


def test_names_are_prometheus_names_in_seconds_and_bytes() -> None:
    for each in REGISTRY:
        assert re.fullmatch(r"postroad_[a-z][a-z0-9_]*", each.name)
        assert each.help.endswith(".")
        assert each.name.endswith("_total") == (each.kind == "counter")
        assert not re.search(r"_(ms|millis|microseconds|kb|mb|minutes)(_|$)", each.name)
        assert all(re.fullmatch(r"[a-z_]+", label.name) and label.name != "le" for label in each.labels)


def test_everything_defined_is_measured_somewhere() -> None:
    used = {
        name for path in SOURCE.rglob("*.py") if path.name != "measured.py" for name in USES.findall(path.read_text())
    }
    assert used == set(measured.__all__) - {"reason_of"}


def test_labels_name_no_account_address_or_host() -> None:
    # Block lists are asked for our own addresses, of which there are a few.
    names = {label.name for each in REGISTRY for label in each.labels if each is not measured.BLOCKLIST_LISTED}
    assert names.isdisjoint({"account", "peer", "address", "host", "domain", "recipient", "sender", "pid"})


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("552 5.3.4 The message is larger than 10 bytes", "size"),
        ("553 5.7.1 You may not send as <a@b>", "policy"),
        ("530 5.7.0 Your account was locked or deleted", "policy"),
        ("450 4.7.1 Your account may send 10 messages an hour", "limit"),
        ("452 4.5.3 No more than 3 recipients at once", "limit"),
        ("452 4.3.1 There is no room on the disk", "disk"),
        ("451 4.3.0 Something went wrong here", "fault"),
        ("554 5.6.0 The message has no From line", "content"),
        ("554 5.4.6 The message goes round in a loop", "content"),
        ("553 5.6.7 An address beyond ASCII needs SMTPUTF8", "address"),
        ("501 5.1.3 Not an address", "address"),
        ("553 5.1.3 Not an address", "address"),
        ("501 5.5.4 SIZE is a number of bytes", "syntax"),
        ("555 5.5.4 MAIL parameter X is not known here", "syntax"),
        ("", "syntax"),
    ],
)
def test_the_reason_of_a_reply(reply: str, reason: str) -> None:
    assert reason_of(reply) == reason
    assert reason in measured.REFUSED.definition.labels[0].values
