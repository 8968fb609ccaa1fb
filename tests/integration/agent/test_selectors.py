# SPDX-License-Identifier: GPL-3.0-or-later
"""Every action of an operator with every way to say what is meant, by the command line, at a running agent.

In the queue is always another message that differs in nothing but what is selected by; it has to stay as it is.
"""

from __future__ import annotations

import json
import smtplib
import ssl
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from relay_agent.accounts.hashing import hash_password
from relay_agent.cli.main import main
from tests.integration.certificates import make_certificate

from .conftest import PASSWORD, Agent, Sink, wait_for

ACTIONS = ("hold", "release", "retry", "bounce", "delete", "export")
SELECTORS = ("id", "destination", "account", "reason")
HELD = {"hold": "held", "release": "waiting", "retry": "waiting", "export": "waiting"}


class Busy:
    """A next hop where all mailboxes are busy but those of our own senders; the reason has the mailbox's name."""

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        mailbox, _, domain = address.partition("@")
        if domain != "alpha.test":
            return f"450 4.2.1 mailbox {mailbox} is busy"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 Ok"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        return "250 2.0.0 Ok"


@dataclass(frozen=True)
class Letter:
    """What a message can be selected by."""

    destination: str
    account: str
    reason: str


@dataclass
class Operated:
    """A running agent from which nothing gets away but bounces."""

    agent: Agent

    def submit(self, letter: Letter) -> str:
        """Have a message accepted; its queue id."""
        context = ssl.create_default_context(cafile=str(self.agent.certificate.certificate))
        context.check_hostname = False
        with smtplib.SMTP("127.0.0.1", self.agent.starttls, timeout=20) as program:
            program.starttls(context=context)
            program.login(letter.account, PASSWORD)
            program.mail("alice@alpha.test")
            program.rcpt(f"{letter.reason}@{letter.destination}")
            code, text = program.data("From: alice@alpha.test\nSubject: test\n\nHello\n")
        assert code == 250, text
        return text.decode().rpartition(" ")[2]

    def events(self, name: str, queue_id: str) -> list[dict[str, Any]]:
        return [event for event in self.agent.events(name) if event["queue_id"] == queue_id]


@pytest.fixture(scope="module")
def operated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operated]:
    directory = tmp_path_factory.mktemp("operated")
    with tempfile.TemporaryDirectory() as nothing:
        agent = Agent(directory, make_certificate(directory, "relay.test"), Sink(Path(nothing)))
        agent.configure('retry_max = "1h"\n[process]\nworkers = 2')
        agent.config.write_text(agent.config.read_text().replace('retry_first = "1s"', 'retry_first = "20m"'))
        hashed = hash_password(PASSWORD)
        names = ["other", *(f"{action}-{selector}" for action in ACTIONS for selector in SELECTORS)]
        accounts = [f'[[account]]\nname = "{name}"\nhash = "{hashed}"\n' for name in names]
        (directory / "accounts.toml").write_text("".join(accounts))
        next_hop = Controller(Busy(), hostname="127.0.0.1", port=agent.sink.port, ready_timeout=30.0)
        next_hop.start()
        try:
            agent.start()
            yield Operated(agent)
        finally:
            if not agent.ended():
                agent.kill_all()
            next_hop.stop()


@pytest.mark.parametrize("selector", SELECTORS)
@pytest.mark.parametrize("action", ACTIONS)
def test_an_action_changes_what_was_selected_and_nothing_else(
    operated: Operated, tmp_path: Path, capsys: pytest.CaptureFixture[str], action: str, selector: str
) -> None:
    def run(*words: str) -> Any:
        assert main([*words, "--json", "--config", str(operated.agent.config)]) == 0, capsys.readouterr().err
        return json.loads(capsys.readouterr().out)

    def listed() -> dict[str, Any]:
        # Without bounces, which are on their way.
        return {each["id"]: each for each in run("queue", "list", "--limit", "0") if each["account"]}

    def await_attempts(queue_id: str, count: int) -> None:
        wait_for(
            lambda: listed()[queue_id]["recipients"][0]["attempts"] == count, what=f"attempt {count} of {queue_id}"
        )

    case = f"{action}-{selector}"
    wanted = {"destination": f"{case}.test", "account": case, "reason": case}
    chosen = operated.submit(Letter(**wanted))
    alike = {
        **wanted,
        **({} if selector == "id" else {selector: "other.test" if selector == "destination" else "other"}),
    }
    for each in (chosen, operated.submit(Letter(**alike))):
        await_attempts(each, 1)
    if action == "release":
        run("queue", "hold", chosen)
    before = listed()

    words = [chosen.lower()] if selector == "id" else [f"--{selector}", wanted[selector]]
    if action in ("bounce", "delete"):
        words.append("--yes")
    if action == "export":
        words += ["--to", str(tmp_path / "files")]
    done = run("queue", action, *words)
    counted = {key: done[key] for key in ("messages", "recipients") if key in done}
    assert counted
    assert set(counted.values()) == {1}, done
    assert done["unknown"] == []
    if action in ("release", "retry"):
        await_attempts(chosen, 2)

    after = listed()
    before.pop(chosen)
    changed = after.pop(chosen, None)
    assert after == before
    if action in ("bounce", "delete"):
        assert changed is None
        assert len(operated.events("bounced", chosen)) == (action == "bounce")
        assert len(operated.events("operator_deleted", chosen)) == (action == "delete")
        return
    (recipient,) = changed["recipients"]
    assert recipient["state"] == HELD[action]
    assert recipient["attempts"] == (2 if action in ("release", "retry") else 1)
    if action == "export":
        assert done["ids"] == [chosen]
        names = sorted(path.name for path in (tmp_path / "files").iterdir())
        assert names == [f"{chosen}.eml", f"{chosen}.json"]
