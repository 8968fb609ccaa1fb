# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person may give as the relay, and what is said of the rest."""

from __future__ import annotations

import argparse

import pytest

from relay_agent.cli.main import main
from relay_agent.cli.probe_command import add_probe


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
