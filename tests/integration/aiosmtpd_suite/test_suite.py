# SPDX-License-Identifier: GPL-3.0-or-later
"""The tests that aiosmtpd ships, run over our read side: sessions, envelopes and hooks mean what they meant.

The suite is the installed package's, run in a process of its own with `plugin`, which puts `StockCommands` in
the place of aiosmtpd's class. What our read side does otherwise on purpose is listed here, test by test.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
MODULES = ("test_smtp", "test_starttls", "test_smtps", "test_smtpsmuggling", "test_lmtp", "test_handlers")

_MOCK = "Has a mock in place of a transport, and waits for the task that aiosmtpd has for each session; we have none."
_LONG = "A command line may have 2,048 bytes whatever the command, 12,288 for AUTH: extensions made 512 too few."
_NOT_UTF8 = "An argument that is not UTF-8 is refused (501), not carried on in surrogates: no address has such octets."
_EXCEPTION = "What goes wrong in handle_exception itself is a 451 that tells the client nothing of our insides."
CHANGED = {
    "test_smtp::TestProtocol::test_honors_mail_delimiters": f"{_MOCK} A bare CR in the content is refused besides.",
    "test_smtp::TestSMTP::test_too_long_command": _LONG,
    "test_smtp::TestSMTP::test_way_too_long_command": f"{_LONG} The refusal has an enhanced status code.",
    "test_smtp::TestAuthMechanisms::test_plain1_goodcreds_sanitized_log": "Lines of the client are not logged at all, "
    "so that there is nothing to make harmless.",
    "test_smtp::TestSMTPWithController::test_exception_handler_exception": _EXCEPTION,
    "test_smtp::TestSMTPWithController::test_exception_handler_undescribable": _EXCEPTION,
    "test_smtp::TestSMTPWithController::test_exception_handler_multiple_connections_lost": "A ConnectionResetError out "
    "of a hook is the hook's (its database went away): the client is told to come again, not cut off.",
    "test_smtp::TestSMTPWithController::test_bad_encodings": _NOT_UTF8,
    "test_smtp::TestStrictASCII::test_bad_encoded_param": _NOT_UTF8,
    "test_smtp::TestSMTPWithController::test_too_long_lines_then_too_long_body": "Both is true, and the content is "
    "here in whole lines, so that its size is found out first.",
    "test_smtp::TestSleepingHandler::test_close_after_helo": "A client that has shut its side gets the answers to "
    "what it sent before: a message that was complete must not be left without its 250.",
    "test_smtp::TestTimeout::test_timeout": "A client that was silent too long is told so (421) before the end.",
    "test_starttls::TestTLSEnding::test_eof_received": "Calls eof_received from within a hook, as nothing in asyncio "
    "does, and wants the session to go on.",
    "test_starttls::TestTLSEnding::test_tls_handshake_failing": "A handshake that fails is an event in the log; it is "
    "no fault of a command, and there is nobody left to answer.",
}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What became of each test of the suite."""
    directory = tmp_path_factory.mktemp("suite")
    noted = directory / "outcomes.json"
    command = [sys.executable, "-m", "pytest", "-q", "--tb=short", "-c", os.devnull, "--rootdir", str(directory)]
    command += ["-p", "no:cacheprovider", "-p", "tests.integration.aiosmtpd_suite.plugin"]
    # Of pytest-asyncio, which is loaded because it is there.
    command += ["-o", "asyncio_default_fixture_loop_scope=function"]
    done = subprocess.run(
        [*command, "--pyargs", *(f"aiosmtpd.tests.{module}" for module in MODULES)],
        cwd=directory,
        # The suite waits for a moment for the server to catch up; on a busy machine 0.1 s is too short a moment.
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "POSTROAD_OUTCOMES": str(noted),
            "ASYNCIO_CATCHUP_DELAY": "0.3",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=240,
    )
    sys.stdout.write(done.stdout)  # shown when a test fails
    assert done.returncode == 1, done.stdout  # tests have failed, those that are listed; nothing else went wrong
    found: dict[str, str] = json.loads(noted.read_text())
    return found


def test_the_suite_is_what_it_was(outcomes: dict[str, str]) -> None:
    """A release of aiosmtpd with tests left out or renamed is looked at by a person."""
    assert CHANGED.keys() <= outcomes.keys()
    assert len(outcomes) >= 361
    assert set(outcomes.values()) == {"passed", "failed"}


def test_everything_else_keeps_its_meaning(outcomes: dict[str, str]) -> None:
    assert sorted(name for name, outcome in outcomes.items() if outcome == "failed" and name not in CHANGED) == []


def test_what_is_listed_is_in_fact_different(outcomes: dict[str, str]) -> None:
    assert sorted(name for name in CHANGED if outcomes[name] != "failed") == []
