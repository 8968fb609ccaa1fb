# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person may give as the relay, and what is said of the rest."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from relay_agent.cli import probe
from relay_agent.cli.main import main
from relay_agent.cli.probe_command import add_probe
from relay_agent.probe.known import load
from relay_agent.probe.survey import Survey


@pytest.mark.parametrize(
    ("given", "host"),
    [
        ("relay.example.org", "relay.example.org"),
        ("relay.example.org.", "relay.example.org"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("192.0.2.1", "192.0.2.1"),
        ("[2001:DB8::1]", "2001:db8::1"),
        ("localhost", "localhost"),
    ],
)
def test_names_and_addresses(given: str, host: str) -> None:
    parser = argparse.ArgumentParser()
    add_probe(parser.add_subparsers())
    assert parser.parse_args(["probe", given]).host == [host]


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["smtp://relay.test"], "give the name alone"),
        (["relay.test:465"], "give the port by itself: relay.test --port 465"),
        (["alice@relay.test"], "but a mail address"),
        (["relay..test"], "is not the name of a host, such as"),
        (["relay test"], "is not the name of a host, such as"),
        ([f"{'a' * 64}.test"], "is not the name of a host, such as"),
        ([""], "is not the name of a host, such as"),
        (["relay.test", "--port", "0"], "is not a port: expected a number from 1 to 65535"),
        (["relay.test", "--port", "smtp"], "is not a port"),
        ([], "required: HOST"),
    ],
)
def test_mistakes_say_what_to_write(words: list[str], problem: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["probe", *words])
    assert ended.value.code == 2
    assert problem in capsys.readouterr().err


@pytest.mark.parametrize(("signed", "kept"), [(True, ("ab",)), (False, ())])
def test_only_a_key_that_the_relay_has_signed_for_is_remembered(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, signed: bool, kept: tuple[str, ...]
) -> None:
    found = Survey("relay.test", (), (), None, signed, "ab", (), 0.1)
    monkeypatch.setattr(probe, "survey", lambda *_, **__: found)
    main(["probe", "relay.test", "--json", "--known", str(tmp_path / "relays.json")])
    assert load(tmp_path / "relays.json", "relay.test").keys == kept
