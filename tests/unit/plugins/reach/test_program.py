# SPDX-License-Identifier: GPL-3.0-or-later
"""The program that a vantage runs from its standard input, run by a shell here."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.postroad.relay.plugins.plugin_utils.reach.bounded import CUT
from ansible_collections.postroad.relay.plugins.plugin_utils.reach.program import (
    ReachError,
    answer,
    command,
    most_said,
    program,
    time_for,
)

RELAYS = [{"name": "one", "host": "localhost", "ports": [1]}]


def shell(words: str, path: str, given: bytes = b"") -> tuple[int, str, str]:
    done = subprocess.run(
        ["/bin/sh", "-c", words], input=given, capture_output=True, env={"PATH": path, "HOME": "/nonexistent"}, cwd="/"
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@pytest.fixture
def bin_directory(tmp_path: Path) -> Path:
    """A PATH with cat alone."""
    (tmp_path / "cat").symlink_to("/bin/cat")
    return tmp_path


def script(file: Path, text: str) -> None:
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)


def test_the_standard_library_is_enough(tmp_path: Path) -> None:
    # -I hides this environment's user packages; a Python without any packages is needed to be sure.
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(bare)], check=True)
    done = shell(command(str(bare / "bin/python")), os.environ["PATH"], program(RELAYS, "", 3))
    found = answer("laptop", *done, ["one"])
    assert {each["end"] for each in found["relays"]["one"]["attempts"]} == {"refused"}


def test_the_inventory_s_interpreter_goes_first_and_the_newest_then(bin_directory: Path) -> None:
    for name in ("mine", "python3", "python3.12", "python3.13"):
        script(bin_directory / name, f'if [ "$1" = -c ]; then exit 0; fi; cat >/dev/null; echo {name}')
    assert shell(command(str(bin_directory / "mine")), str(bin_directory))[1] == "mine\n"
    assert shell(command(), str(bin_directory))[1] == "python3.13\n"


def test_one_that_is_too_old_is_passed_over(bin_directory: Path) -> None:
    script(bin_directory / "python3.13", "exit 1")
    script(bin_directory / "python3", f'exec {sys.executable} "$@"')
    found = answer("laptop", *shell(command("/missing/python"), str(bin_directory), program(RELAYS, "", 3)), ["one"])
    assert list(found["relays"]) == ["one"]


@pytest.mark.parametrize(
    ("python", "words"),
    [('test "$1" = --version && echo Python 3.9.2', "laptop has Python 3.9.2, and"), ("", "laptop has no Python, and")],
)
def test_without_a_python_that_is_new_enough_it_is_said(bin_directory: Path, python: str, words: str) -> None:
    if python:
        script(bin_directory / "python3", python)
    done = shell(command(), str(bin_directory), program(RELAYS, "", 3))
    with pytest.raises(ReachError) as caught:
        answer("laptop", *done, ["one"])
    assert str(caught.value).startswith(f"{words} Python 3.11 or later is needed there: install it")


def test_what_a_login_shell_says_first_is_not_the_answer() -> None:
    told = json.dumps({"python": "3.11.2", "relays": {}})
    assert answer("laptop", 0, f'Welcome!\n{{"relays": 1}}\npostroad-reach:{told}\n', "", [])["python"] == "3.11.2"


@pytest.mark.parametrize(
    ("status", "output", "errors", "words"),
    [
        (1, "", "Traceback\nMemoryError\n", "(exit status 1): MemoryError"),
        (0, "This account is locked\n", "", "(exit status 0): This account is locked"),
        (0, 'postroad-reach:{"cut": ', "", "(exit status 0): postroad-reach:"),
        (255, "", "", "it said nothing"),
        (0, "postroad-reach:", "", "(exit status 0): postroad-reach:"),
        (0, "postroad-reach:[1]", "", "laptop has [1], and"),
        (0, 'postroad-reach:{"relays": []}', "", "(exit status 0): "),
        (0, 'postroad-reach:{"relays": ' + "[" * 99999, "", "(exit status 0): "),
        (1, "", "\x1b]0;title\x07 red\n", "(exit status 1):  ]0;title  red"),
    ],
)
def test_what_goes_wrong_there_is_said(status: int, output: str, errors: str, words: str) -> None:
    with pytest.raises(ReachError) as caught:
        answer("laptop", status, output, errors, ["one"])
    assert words in str(caught.value)


def test_nothing_else_of_an_answer_gets_into_the_task_s_result() -> None:
    # Ansible takes facts, and hosts for its inventory, from a result.
    told = {"python": "3.11.2", "relays": {}, "ansible_facts": {"a": 1}, "add_host": {}, "failed": False}
    assert answer("laptop", 0, f"postroad-reach:{json.dumps(told)}", "", ["one"]) == {"python": "3.11.2", "relays": {}}


def test_a_server_that_says_the_word_for_the_beginning_hides_nothing() -> None:
    told = {"python": "3.11.2", "relays": {"one": {"attempts": [{"banner": "postroad-reach: Python 3.9"}]}}}
    assert answer("laptop", 0, f"postroad-reach:{json.dumps(told)}", "", ["one"]) == told


def test_relays_that_nobody_asked_for_are_left_out() -> None:
    told = {"python": "3.11.2", "relays": {"one": {"problem": "x"}, "two": {"problem": "y" * 1000}}}
    assert list(answer("laptop", 0, f"postroad-reach:{json.dumps(told)}", "", ["one"])["relays"]) == ["one"]


@pytest.mark.parametrize("stream", ["output", "errors"])
def test_too_much_is_not_even_read(stream: str) -> None:
    # What no ssh brings, of a container for one, is there already; at least it does not become objects.
    good = f"postroad-reach:{json.dumps({'python': '3.11.2', 'relays': {}})}"
    said = {"output": good, "errors": ""}
    said[stream] += " " * (most_said(1) + 1)
    with pytest.raises(ReachError, match=r"^laptop could not try the ports: it said more than \d+ bytes"):
        answer("laptop", 0, **said, asked=["one"])


def test_who_was_cut_off_is_named_with_the_reason() -> None:
    with pytest.raises(ReachError) as caught:
        answer("laptop", CUT, "", "Welcome\nit was not done within 70 seconds\n", ["one"])
    assert str(caught.value) == (
        "laptop could not try the ports: it was not done within 70 seconds, which is more than the answer of an honest "
        "vantage takes: look what answers SSH there, try fewer relays at once (--limit), or look from another host "
        "(relay_reach_from)"
    )


def test_the_limits_leave_room_for_an_honest_answer() -> None:
    # Eight ports, each tried in both ways over both families, all answered with a large certificate and a statement.
    attempt = {"shown": {"der": "x" * 4096}, "statements": ["y" * 2048], "banner": "z" * 500, "auth": ["w" * 50] * 5}
    answers = json.dumps({str(relay): {"attempts": [attempt] * 8 * 2 * 2} for relay in range(50)})
    assert len(answers) < most_said(50)
    assert time_for(0, 9.5) > 30
    assert time_for(7, 9.5) > 2 * 9.5
    # 150,000 bytes a relay over 128 kbit/s, after names of which no server knows, however short the tries are.
    assert time_for(30, 1.0) > 30 * 150_000 * 8 / 128_000 + 5 * (4 + 1)
