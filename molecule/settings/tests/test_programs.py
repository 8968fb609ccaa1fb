# SPDX-License-Identifier: GPL-3.0-or-later
"""Mail programs that are told an address and find out the rest."""

import secrets
import shlex
from collections.abc import Callable
from typing import Any

from traffic.fixtures import AUTHORITY
from traffic.mail_programs import Submission
from traffic.mailboxes import Mailboxes

ADDRESS = "alice@alpha.test"


def test_thunderbird_takes_up_the_account_from_an_address(
    thunderbird: Callable[..., dict[str, Any]], passwords: dict[str, str], mailboxes: Mailboxes
) -> None:
    token = secrets.token_hex(6)
    found = thunderbird("account_from_address.js", ADDRESS, passwords["alice"], f"bob+{token}@beta.test", token)
    assert found == {
        "found": True,
        "outgoing": ["relay1.postroad.test", 443, ADDRESS],
        "incoming": ["imap", "mx.postroad.test", 993, ADDRESS],
        "status": 0,
    }
    assert mailboxes.wait_for([token], seconds=30) == {token: 1}
    assert mailboxes.read(token)["User-Agent"] == "Mozilla Thunderbird"


def test_msmtp_finds_the_records_and_sends_by_them(
    laptop: Any, passwords: dict[str, str], compose: Callable[..., Submission], mailboxes: Mailboxes
) -> None:
    configured = laptop.check_output(f"msmtp --configure {ADDRESS}")
    lines = [line for line in configured.splitlines() if line and not line.startswith("#")]
    assert {"host relay1.postroad.test", "port 443", "tls on", "tls_starttls off"} <= set(lines)
    lines += [f"passwordeval echo {shlex.quote(passwords['alice'])}", f"tls_trust_file {AUTHORITY}"]
    text = "".join(f"{line}\n" for line in lines)
    laptop.check_output(f"umask 077 && printf %s {shlex.quote(text)} > /root/msmtprc")
    message = compose("relay1", port=443, program="msmtp")
    sent = f"msmtp --file=/root/msmtprc --account={ADDRESS} {message.recipient}"
    laptop.check_output(f"printf %s {shlex.quote(message.text)} | {sent}")
    assert mailboxes.wait_for([message.token], seconds=30) == {message.token: 1}
