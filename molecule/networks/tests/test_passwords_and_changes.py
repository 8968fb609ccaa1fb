# SPDX-License-Identifier: GPL-3.0-or-later
"""What no network gets out of a mail program, and what a change of network in the middle of a message leaves behind."""

import shlex
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from traffic.fixtures import AUTHORITY
from traffic.mail_programs import EVERY_PROGRAM, Submission, command_line
from traffic.mailboxes import Mailboxes

Network = Callable[..., AbstractContextManager[None]]


def test_no_program_signs_in_in_the_clear(
    network: Network, router: Any, laptop: Any, compose: Callable[..., Submission], submit: Callable[..., Any]
) -> None:
    """STARTTLS is taken out of what the relay offers. s-nail asks for it all the same, gets it, checks the certificate
    and sends; everybody else gives up. Nobody tells the network a password."""
    router.check_output("rm -f /run/overheard")
    with network(redirect="587, 2525, 8025", middlebox="strip"):
        sent = {program: submit(compose("relay1", port=587, program=program)).rc for program in EVERY_PROGRAM}
        assert router.run("cat /run/overheard").stdout == ""
        # The middlebox would have heard it.
        says = "printf 'EHLO x\\r\\nAUTH PLAIN AGEAYg==\\r\\n' >&3; sleep 1"
        laptop.run(f"bash -c {shlex.quote(f'exec 3<>/dev/tcp/relay1.postroad.test/587; {says}')}")
        heard = "grep -qs 'AUTH PLAIN' /run/overheard"
        router.check_output(f"for i in $(seq 100); do {heard} && exit 0; sleep 0.1; done; exit 1")
    assert [program for program, status in sent.items() if status == 0] == ["s-nail"]


def test_behind_a_login_page_nobody_sends_and_after_it_everybody_does(
    network: Network, compose: Callable[..., Submission], submit: Callable[..., Any], mailboxes: Mailboxes
) -> None:
    """The setting stays as it is: what the program could not send, it sends once the person has logged in."""
    all_of_them = [compose("relay1", port=443, program=program) for program in EVERY_PROGRAM]
    with network("ct direction original tcp dport != { 22, 53 } drop", redirect="80, 443", middlebox="portal"):
        for one in all_of_them:
            assert submit(one).rc != 0, one.program
    for one in all_of_them:
        assert submit(one).rc == 0, one.program
    tokens = [one.token for one in all_of_them]
    assert mailboxes.wait_for(tokens, seconds=20) == dict.fromkeys(tokens, 1)


def test_the_network_changes_under_every_program(
    network: Network,
    router: Any,
    laptop: Any,
    passwords: dict[str, str],
    compose: Callable[..., Submission],
    submit: Callable[[Submission], Any],
    mailboxes: Mailboxes,
) -> None:
    """All of them are in the middle of a large message when the router forgets their connections. None takes that for
    sent; sent again with the same setting, each message arrives once."""
    all_of_them = [compose("relay1", port=443, program=program) for program in EVERY_PROGRAM]
    laptop.check_output("yes 'a line of the large message' | head -c 6000000 > /root/large; rm -f /root/status-*")
    with network("tcp dport 443 limit rate over 500 kbytes/second drop"):
        for one in all_of_them:
            command = command_line(one, passwords["alice"], AUTHORITY).partition(" | ")[2]
            laptop.check_output(
                f"({command} < /root/large; echo $? > /root/status-{one.program}) >/dev/null 2>&1 </dev/null &"
            )
        laptop.check_output("sleep 3; ! ls /root/status-*")
        # In one step: no packet passes in between.
        router.check_output(
            "printf 'delete table inet walls; table inet walls { chain forward { type filter hook forward priority -5; "
            "tcp dport 443 reject with tcp reset; tcp sport 443 reject with tcp reset; }; }\n' | nft -f -"
        )
        count = len(all_of_them)
        laptop.check_output(
            f"for i in $(seq 80); do [ $(ls /root/status-* | wc -l) = {count} ] && break; sleep 0.5; done"
        )
        ended = {one.program: laptop.run(f"cat /root/status-{one.program}").stdout.strip() for one in all_of_them}
    assert all(status not in ("", "0") for status in ended.values()), ended
    assert not {one.token for one in all_of_them} & mailboxes.files().keys()
    for one in all_of_them:
        assert submit(one).rc == 0, one.program
    tokens = [one.token for one in all_of_them]
    assert mailboxes.wait_for(tokens, seconds=20) == dict.fromkeys(tokens, 1)
