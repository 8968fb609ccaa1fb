# SPDX-License-Identifier: GPL-3.0-or-later
"""Nothing of the agent is removed while anybody's mail is left."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.postroad.relay.plugins.module_utils.agent_queue import AgentQueue, AgentQueueError, Waiting
from ansible_collections.postroad.relay.plugins.module_utils.agent_removal import AgentRemoval, RemovalError

_FILES = (
    "etc/systemd/system/relay-agent.service",
    "etc/systemd/system/relay-agent.socket",
    "etc/systemd/system/relay-agent.socket.d/drained.conf",
    "etc/systemd/system/postroad-firewall.service",
    "etc/systemd/system/relay-certificate.timer",
    "etc/systemd/system/nftables.service.d/postroad.conf",
    "etc/systemd/system/ssh.service",
    "etc/postroad/agent.toml",
    "etc/postroad/drained.json",
    "etc/postroad-failover.toml",
    "etc/postroad-settings/pages/reach.json",
    "opt/postroad/current/bin/relay-agent",
    "run/postroad-profile/postroad.mobileconfig",
    "usr/local/bin/relay-agent",
    "var/lib/postroad-certificate/accounts/key.pem",
    "var/lib/postroad/queue/0/queue.db",
)


class Host:
    """A host with everything on it, drained."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.asked: list[str] = []
        self.answers = [Waiting()]
        self.joins = (0, "{}", "")
        for name in _FILES:
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        queue = AgentQueue(self)
        queue.waiting = self._waiting  # type: ignore[method-assign]
        self.removal = AgentRemoval(self, queue, root=root)

    def __call__(self, command: list[str], /) -> tuple[int, str, str]:
        self.asked.append(" ".join(command))
        if command[1:3] == ["failover", "join"]:
            # By then the watcher and the agent do not run any more, and all that the command needs is still there.
            assert "systemctl disable --now --quiet postroad-firewall.service" in self.asked
            assert Path(command[0]).exists()
            assert (self.root / "opt/postroad/current/bin/relay-agent").exists()
            return self.joins
        return 0, "", ""

    def _waiting(self) -> Waiting:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def files(self) -> list[str]:
        return sorted(str(path.relative_to(self.root)) for path in self.root.rglob("*") if path.is_file())


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """A host that is drained and empty."""
    return Host(tmp_path)


def test_an_empty_drained_host_is_left_bare(host: Host) -> None:
    assert host.removal.remove(discard_mail=False)
    assert host.files() == ["etc/systemd/system/ssh.service"]
    assert "nft delete table inet postroad" in host.asked
    assert "userdel postroad" in host.asked
    host.asked.clear()
    assert host.removal.remove(discard_mail=False) == [], "a second time there is nothing to do"
    assert host.asked == []


@pytest.mark.parametrize(
    ("waiting", "said"),
    [
        (Waiting(5, 6, 0, 0), "the host still has 5 messages for 6 recipients"),
        (Waiting(5, 6, 2, 0), "`relay-agent queue release`"),
        (Waiting(0, 0, 0, 4), "4 messages being handed over"),
    ],
)
def test_mail_keeps_it(host: Host, waiting: Waiting, said: str) -> None:
    host.answers = [waiting]
    with pytest.raises(RemovalError, match=said):
        host.removal.remove(discard_mail=False)
    assert host.asked == []
    assert len(host.files()) == len(_FILES)


def test_the_next_host_of_the_name_is_not_held_out(host: Host) -> None:
    host.removal.remove(discard_mail=False)
    assert f"{host.root}/usr/local/bin/relay-agent failover join --json" in host.asked
    assert host.removal.warnings == []


def test_a_name_server_that_does_not_answer_keeps_no_host(host: Host) -> None:
    host.joins = (1, "", "ns1: it did not answer\n")
    assert host.removal.remove(discard_mail=False)
    assert host.files() == ["etc/systemd/system/ssh.service"]
    (warning,) = host.removal.warnings
    assert warning.startswith("ns1: it did not answer. The name server still holds this relay out")


def test_a_host_without_failover_asks_nobody(host: Host) -> None:
    (host.root / "etc/postroad-failover.toml").unlink()
    host.removal.remove(discard_mail=False)
    assert not any("failover" in command for command in host.asked)


def test_mail_that_came_about_at_the_last_moment_keeps_it_and_goes_on(host: Host) -> None:
    host.answers = [Waiting(), Waiting(1, 1)]
    with pytest.raises(RemovalError, match="1 message"):
        host.removal.remove(discard_mail=False)
    assert host.asked[-1] == "systemctl start relay-agent.service"
    assert len(host.files()) == len(_FILES)


def test_a_host_that_takes_mail_is_refused(host: Host) -> None:
    (host.root / "etc/postroad/drained.json").unlink()
    with pytest.raises(RemovalError, match=r"run drain\.yml for it first"):
        host.removal.remove(discard_mail=False)
    assert host.asked == []


def test_an_agent_that_does_not_say_is_refused(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> Waiting:
        raise AgentQueueError("it hangs")

    monkeypatch.setattr(host.removal._queue, "waiting", fails)
    with pytest.raises(RemovalError, match="it hangs"):
        host.removal.remove(discard_mail=False)


def test_a_queue_without_an_agent_is_refused(host: Host) -> None:
    import shutil

    shutil.rmtree(host.root / "opt/postroad")
    with pytest.raises(RemovalError, match="has a queue: install the agent"):
        host.removal.remove(discard_mail=False)


def test_mail_is_thrown_away_only_when_asked(host: Host) -> None:
    host.answers = [Waiting(5, 6)]
    assert host.removal.remove(discard_mail=True)
    assert host.files() == ["etc/systemd/system/ssh.service"]


def test_nothing_is_left_of_a_change_on_trial_nor_of_one_that_was_kept(host: Host) -> None:
    """Both have what ran before, passwords among it; and the host would put the former back, again and again."""
    unit = host.root / "etc/systemd/system/relay-agent-unproved.service"
    wanted = host.root / "etc/systemd/system/sysinit.target.wants" / unit.name
    wanted.parent.mkdir()
    unit.touch()
    wanted.symlink_to(unit)
    for name in ("postroad-deployment", "postroad-deployment-kept"):
        secret = host.root / "run" / name / "before/release/secrets/upstream"
        secret.parent.mkdir(parents=True)
        secret.touch()
    host.removal.remove(discard_mail=False)
    assert host.files() == ["etc/systemd/system/ssh.service"]
    assert not wanted.is_symlink()
    stopped = "systemctl stop relay-agent-put-back.timer relay-agent-put-back.service"
    assert host.asked.index(stopped) < next(n for n, each in enumerate(host.asked) if "relay-agent.service" in each)


def test_what_nobody_could_read_is_kept(host: Host) -> None:
    damaged = host.root / "var/lib/postroad/queue/0/journal.damaged-x"
    damaged.mkdir()
    (damaged / "segment").write_text("perhaps mail")
    host.removal.remove(discard_mail=False)
    (kept,) = (host.root / "var/lib").glob("postroad.damaged-*/*/segment")
    assert kept.read_text() == "perhaps mail"
