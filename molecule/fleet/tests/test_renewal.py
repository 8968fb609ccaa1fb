# SPDX-License-Identifier: GPL-3.0-or-later
"""New certificates and another account, by site.yml, while mail comes in."""

from collections.abc import Callable
from dataclasses import dataclass
from subprocess import CompletedProcess
from typing import Any

import pytest
from traffic.load import Load, Submissions
from traffic.mailboxes import Mailboxes
from traffic.relays import Relay

RELAYS = ["relay1", "relay2", "relay3"]
PASSWORD = "carols-own"
CAROL = {"name": "carol", "password": PASSWORD}
VARIABLES = {
    "relay_tls_certificate": {
        "mode": "private_ca",
        "ca_directory": "{{ lab_state }}/private_ca",
        # Another name makes it due, however new it is.
        "names": ["{{ lab_fqdn }}", "second.{{ lab_fqdn }}"],
    },
    "relay_agent_accounts": [
        *({"name": name, "password": f"{{{{ lab_passwords.{name} }}}}"} for name in ("alice", "bob", "probe")),
        CAROL,
    ],
}


@dataclass(frozen=True)
class Story:
    """What was done, and each relay's process and the certificate that it shows, before and after."""

    site: CompletedProcess[str]
    submissions: Submissions
    pids: tuple[dict[str, int], dict[str, int]]
    certificates: tuple[dict[str, str], dict[str, str]]


@pytest.fixture(scope="module")
def story(load: Load, playbook: Callable[..., CompletedProcess[str]], relays: dict[str, Relay], laptop: Any) -> Story:
    """The load begins before the run of site.yml and ends after it."""

    def certificates() -> dict[str, str]:
        command = "openssl s_client -connect %s.postroad.test:465 </dev/null 2>/dev/null | openssl x509 -noout -serial"
        return {name: laptop.check_output(command, name) for name in relays}

    def pids() -> dict[str, int]:
        return {name: relay.main_pid() for name, relay in relays.items()}

    before = pids(), certificates()
    with load.running() as submissions:
        site = playbook("site.yml", VARIABLES)
    after = pids(), certificates()
    return Story(site, submissions, (before[0], after[0]), (before[1], after[1]))


def test_the_run_succeeds(story: Story) -> None:
    assert story.site.returncode == 0, story.site.stdout


@pytest.mark.parametrize("relay", RELAYS)
def test_the_same_process_shows_another_certificate(relay: str, story: Story) -> None:
    before, after = story.certificates
    assert before[relay] != after[relay]
    assert story.pids[0][relay] == story.pids[1][relay]


@pytest.mark.parametrize("relay", RELAYS)
def test_the_new_account_can_sign_in(relay: str, story: Story, laptop: Any) -> None:
    assert story.site.returncode == 0
    command = (
        f"swaks --silent 2 --server {relay}.postroad.test --port 465 --tls-on-connect --auth PLAIN --auth-user carol "
        f"--auth-password {PASSWORD} --quit-after AUTH"
    )
    assert laptop.run(command).rc == 0


def test_not_one_submission_failed(story: Story) -> None:
    assert len(story.submissions.attempts) >= 50
    assert story.submissions.failed() == []


def test_not_one_message_is_lost_or_doubled(story: Story, mailboxes: Mailboxes) -> None:
    assert story.submissions.missing(mailboxes, seconds=30) == {}
