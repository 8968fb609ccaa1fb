# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from relay_agent.probe.known import Known, default_file, load, remember

PORTS = ((465, "implicit"),)


def test_the_latest_key_comes_first_and_old_ones_are_forgotten(tmp_path: Path) -> None:
    file = tmp_path / "state" / "relays.json"
    assert load(file, "relay.test") == Known()
    for number in range(6):
        remember(file, "Relay.test", f"key{number}", PORTS)
    assert load(file, "relay.TEST") == Known(("key5", "key4", "key3", "key2"), PORTS)
    remember(file, "other.test", "key", ())
    assert load(file, "relay.test").keys[0] == "key5"
    assert [path.name for path in file.parent.iterdir()] == ["relays.json"]


@pytest.mark.parametrize(
    "content", ["", "[]", '{"relay.test": 3}', '{"relay.test": {"keys": ["a"], "ports": [["x"]]}}']
)
def test_a_file_that_makes_no_sense_is_as_none(tmp_path: Path, content: str) -> None:
    file = tmp_path / "relays.json"
    file.write_text(content)
    assert load(file, "relay.test") == Known()
    remember(file, "relay.test", "key", PORTS)
    assert json.loads(file.read_text())["relay.test"]["keys"] == ["key"]


@pytest.mark.parametrize(("platform", "part"), [("linux", ".local"), ("darwin", "Library"), ("win32", "AppData")])
def test_it_is_where_such_things_are(monkeypatch: pytest.MonkeyPatch, platform: str, part: str) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    for name in ("XDG_STATE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    file = default_file()
    assert file is not None
    assert part in file.parts


@pytest.mark.parametrize(
    ("platform", "name", "value", "place"),
    [
        ("win32", "LOCALAPPDATA", "/local", "/local/postroad/relays.json"),
        ("linux", "XDG_STATE_HOME", "/state", "/state/postroad/relays.json"),
        ("linux", "XDG_STATE_HOME", "relative", "/home/bob/.local/state/postroad/relays.json"),
        ("darwin", "XDG_STATE_HOME", "/state", "/home/bob/Library/Application Support/postroad/relays.json"),
    ],
)
def test_the_user_may_name_the_place(
    monkeypatch: pytest.MonkeyPatch, platform: str, name: str, value: str, place: str
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setenv("HOME", "/home/bob")
    monkeypatch.setenv(name, value)
    assert default_file() == Path(place)


def test_a_user_without_a_home_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", home)
    assert default_file() is None
