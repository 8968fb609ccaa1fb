# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import stat
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from relay_agent.config.schema import Dkim, DkimKey
from relay_agent.dkim import store as module
from relay_agent.dkim.keys import Algorithm, KeyState, make_key, render_key
from relay_agent.dkim.places import DkimError, key_files
from relay_agent.dkim.store import KeyStore, load_keys
from relay_agent.whole_file import locked_directory, replace_file

from .oracle import NOW, key

ED25519 = (Algorithm.ED25519,)
BOTH = (Algorithm.RSA, Algorithm.ED25519)


@pytest.fixture
def config(tmp_path: Path) -> Dkim:
    return Dkim(directory=tmp_path / "dkim")


def states(config: Dkim) -> dict[str, str]:
    return {key.selector: key.state.value for key in load_keys(config)}


def test_no_directory_no_keys(config: Dkim) -> None:
    assert key_files(config) == []
    assert load_keys(config) == []


def test_keys_from_the_first_to_the_next(config: Dkim) -> None:
    store = KeyStore(config)
    first = store.make("alpha.test", BOTH, NOW)
    assert [key.selector for key in first] == ["20261124-rsa", "20261124-ed25519"]
    assert states(config) == {"20261124-rsa": "pending", "20261124-ed25519": "pending"}
    assert store.activate(first, NOW) == []
    second = store.make("alpha.test", ED25519, NOW)
    assert [key.selector for key in second] == ["20261124b-ed25519"]
    later = NOW + timedelta(days=1)
    (retired,) = store.activate(second, later)
    assert (retired.selector, retired.state, retired.since) == ("20261124-ed25519", KeyState.RETIRED, later)
    assert states(config) == {
        "20261124-rsa": "active",  # of another kind
        "20261124-ed25519": "retired",
        "20261124b-ed25519": "active",
    }
    store.delete(retired)
    assert "20261124-ed25519" not in states(config)


def test_a_key_of_another_relay_is_kept_as_pending(config: Dkim, tmp_path: Path) -> None:
    (made,) = KeyStore(Dkim(directory=tmp_path / "elsewhere")).make("alpha.test", ED25519, NOW, "one")
    store = KeyStore(config)
    assert store.add(made, NOW)
    assert states(config) == {"one": "pending"}
    assert stat.S_IMODE((config.directory / "alpha.test" / "one.pem").stat().st_mode) == 0o640
    store.activate(load_keys(config), NOW)
    assert not store.add(made, NOW)
    assert states(config) == {"one": "active"}
    (other,) = KeyStore(Dkim(directory=tmp_path / "third")).make("alpha.test", ED25519, NOW, "one")
    with pytest.raises(DkimError, match="is another key here"):
        store.add(other, NOW)


def test_a_domain_s_directory_goes_with_its_last_key(config: Dkim) -> None:
    store = KeyStore(config)
    (only,) = store.make("alpha.test", ED25519, NOW)
    store.delete(only)
    assert list(config.directory.iterdir()) == []


def test_only_the_group_of_the_directory_above_reads_keys(config: Dkim) -> None:
    KeyStore(config).make("alpha.test", ED25519, NOW)
    (path,) = (path for path, *_ in key_files(config))
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert stat.S_IMODE(path.parent.stat().st_mode) == stat.S_IMODE(config.directory.stat().st_mode) == 0o750
    assert path.stat().st_gid == config.directory.parent.stat().st_gid


def test_one_pending_key_of_a_kind_is_enough(config: Dkim) -> None:
    store = KeyStore(config)
    store.make("alpha.test", ED25519, NOW)
    with pytest.raises(DkimError, match="pending key 20261124-ed25519 already"):
        store.make("alpha.test", BOTH, NOW)
    store.make("beta.test", ED25519, NOW)


def test_selectors_of_one_s_own(config: Dkim) -> None:
    store = KeyStore(config)
    assert [key.selector for key in store.make("alpha.test", BOTH, NOW, "a")] == ["a-rsa", "a-ed25519"]
    assert [key.selector for key in store.make("beta.test", ED25519, NOW, "a")] == ["a"]
    store.activate(load_keys(config), NOW)
    with pytest.raises(DkimError, match="a selector is used once"):
        store.make("beta.test", ED25519, NOW, "a")


def test_a_key_that_changed_meanwhile_is_left_alone(config: Dkim) -> None:
    store = KeyStore(config)
    (pending,) = store.make("alpha.test", ED25519, NOW)
    store.activate([pending], NOW)
    for change in (lambda: store.activate([pending], NOW), lambda: store.delete(pending)):
        with pytest.raises(DkimError, match="changed by another program"):
            change()
    assert states(config) == {"20261124-ed25519": "active"}


def test_a_crash_in_the_middle_leaves_a_key_that_signs(config: Dkim, monkeypatch: pytest.MonkeyPatch) -> None:
    store = KeyStore(config)
    store.activate(store.make("alpha.test", ED25519, NOW), NOW)
    second = store.make("alpha.test", ED25519, NOW)
    written: list[Path] = []

    def once(path: Path, content: bytes) -> None:
        if written:
            raise OSError(28, "No space left on device", str(path))
        written.append(path)
        replace_file(path, content)

    monkeypatch.setattr(module, "replace_file", once)
    with pytest.raises(OSError, match="No space"):
        store.activate(second, NOW)
    assert set(states(config).values()) == {"active"}


def test_the_directory_s_lock_is_waited_for(config: Dkim, monkeypatch: pytest.MonkeyPatch) -> None:
    store = KeyStore(config)
    (key,) = store.make("alpha.test", ED25519, NOW)
    monkeypatch.setattr(module, "_LOCK_SECONDS", 0.1)
    with locked_directory(config.directory, 1), pytest.raises(DkimError, match="locked by another program"):
        store.delete(key)


def test_every_file_that_cannot_be_used_is_named(config: Dkim) -> None:
    good = render_key(key())
    for domain, name, content in (
        ("alpha.test", "good.pem", good),
        ("alpha.test", ".good.pem.x1", b"half written"),
        ("alpha.test", "notes.txt", b""),
        ("alpha.test", "bad.pem", b"nothing"),
        ("Alpha.test", "s.pem", good),
        ("alpha.test", "a_b.pem", good),
    ):
        (config.directory / domain).mkdir(parents=True, exist_ok=True)
        (config.directory / domain / name).write_bytes(content)
    (config.directory / "file").write_text("")
    with pytest.raises(DkimError) as told:
        load_keys(config)
    assert [Path(problem.partition(": ")[0]).name for problem in told.value.problems] == ["s.pem", "a_b.pem", "bad.pem"]


def test_keys_of_the_configuration(tmp_path: Path, config: Dkim) -> None:
    path = tmp_path / "given.pem"
    path.write_bytes(render_key(make_key("x.test", "x", Algorithm.ED25519, NOW)))
    given: dict[str, Any] = {"domain": "Alpha.test", "selector": "S1", "file": path}
    config = Dkim(directory=config.directory, key=(DkimKey(**given),))
    (only,) = load_keys(config)
    assert (only.domain, only.selector, only.given, only.state) == ("alpha.test", "s1", True, KeyState.ACTIVE)
    KeyStore(config).make("beta.test", ED25519, NOW)
    with pytest.raises(DkimError, match=r"\[\[dkim.key\]\]"):
        KeyStore(config).delete(only)
    path.unlink()
    with pytest.raises(DkimError, match="no such file"):
        load_keys(config)
