# SPDX-License-Identifier: GPL-3.0-or-later
"""A renewal while mail is under way, one that does not work, an authority that is down, and one that came too late."""

import base64
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from traffic.mail_programs import Submission
from traffic.mailboxes import Mailboxes
from traffic.relays import Relay

RELAY = "relay1"
_FAILS = "postroad_certificate_renewal_fails"
_CONFIG = "/etc/postroad/agent.toml"

# A mail program that is in the middle of a message for some seconds.
_SLOW = """
import smtplib, ssl, sys, time
relay, password, ca, sender, recipient = sys.argv[1:]
client = smtplib.SMTP_SSL(relay, 465, context=ssl.create_default_context(cafile=ca))
client.login('alice', password)
client.mail(sender)
client.rcpt(recipient)
assert client.docmd('DATA')[0] == 354
client.send(f'From: {sender}\\r\\nTo: {recipient}\\r\\nSubject: slow\\r\\n\\r\\n')
for _ in range(14):
    client.send('a line\\r\\n')
    time.sleep(0.5)
client.send('.\\r\\n')
print(client.getreply())
"""


def test_no_session_ends(
    laptop: Any,
    relays: dict[str, Relay],
    shown: Callable[[str], str],
    passwords: dict[str, str],
    compose: Callable[..., Submission],
    submit: Callable[[Submission], Any],
    mailboxes: Mailboxes,
) -> None:
    before = shown(RELAY)
    slow, meanwhile, after = (compose(RELAY, port=465) for _ in range(3))
    program = base64.b64encode(_SLOW.encode()).decode()
    arguments = f"{slow.relay} {passwords['alice']} /root/relay-authority.pem {slow.sender} {slow.recipient}"
    laptop.check_output(f"echo {program} | base64 -d > /root/slow.py")
    laptop.check_output(f"nohup python3 /root/slow.py {arguments} > /root/slow.log 2>&1 < /dev/null & sleep 2")
    renewal = relays[RELAY].host.run("relay-agent certificate renew --now")
    assert renewal.rc == 0, renewal.stdout + renewal.stderr
    assert submit(meanwhile).rc == 0
    assert shown(RELAY) != before
    for _ in range(120):
        if laptop.run("pgrep -f /root/slow.py").rc != 0:
            break
        time.sleep(0.5)
    assert "250" in laptop.check_output("cat /root/slow.log")
    assert submit(after).rc == 0
    tokens = [each.token for each in (slow, meanwhile, after)]
    arrived = mailboxes.wait_for(tokens, seconds=30)
    assert {token: arrived[token] for token in tokens} == dict.fromkeys(tokens, 1)


def test_the_old_one_comes_back_where_the_agent_does_not_take_the_new_one(
    relays: dict[str, Relay],
    shown: Callable[[str], str],
    make_due: Callable[[str], None],
    timer_strikes: Callable[[str], bool],
    said: Callable[[str, str], list[dict[str, Any]]],
) -> None:
    relay, before = relays[RELAY], shown(RELAY)
    relay.host.check_output(f"cp -p {_CONFIG} {_CONFIG}.good && echo 'nonsense = 1' >> {_CONFIG}.bad")
    relay.host.check_output(f"cat {_CONFIG}.good >> {_CONFIG}.bad && cat {_CONFIG}.bad > {_CONFIG}")
    # The unit's own settings are read by then, so only the reload meets the fault.
    make_due(RELAY)
    try:
        assert not timer_strikes(RELAY)
    finally:
        relay.host.check_output(f"cat {_CONFIG}.good > {_CONFIG}; rm {_CONFIG}.good {_CONFIG}.bad")
    assert relay.host.run("systemctl is-failed relay-certificate.service").stdout.strip() == "failed"
    assert shown(RELAY) == before
    assert timer_strikes(RELAY)
    assert shown(RELAY) != before
    assert relay.metric(_FAILS) == 0


@pytest.fixture
def authority_down(on: Callable[[str], Any]) -> Any:
    """Has the authority refuse connections until the end of the test, or until it is called."""
    host = on("acme")
    rule = "chain input { type filter hook input priority 0; tcp dport 14000 reject with tcp reset; }"
    host.check_output(f"printf 'table inet down {{ %s\\n}}\\n' '{rule}' | nft -f -")

    def up() -> None:
        host.run("nft delete table inet down")

    yield up
    up()


def test_an_authority_that_is_down(
    authority_down: Callable[[], None],
    relays: dict[str, Relay],
    shown: Callable[[str], str],
    make_due: Callable[[str], None],
    timer_strikes: Callable[[str], bool],
    said: Callable[[str, str], list[dict[str, Any]]],
    status: Callable[[str], dict[str, Any]],
) -> None:
    relay, before = relays[RELAY], shown(RELAY)
    make_due(RELAY)
    assert not timer_strikes(RELAY)
    assert shown(RELAY) == before
    assert "connection refused" in status(RELAY)["renewal"]["problem"]
    assert "renewal fails since" in relay.host.check_output("relay-agent status")
    assert relay.metric(_FAILS) == 1
    assert "connection refused" in said(RELAY, "certificate_renewal_failed")[-1]["problem"]
    authority_down()
    assert timer_strikes(RELAY)
    assert shown(RELAY) != before
    assert status(RELAY)["renewal"]["problem"] == ""


def test_one_that_has_expired_is_told_of_and_replaced(
    tmp_path: Path,
    laptop: Any,
    relays: dict[str, Relay],
    shown: Callable[[str], str],
    timer_strikes: Callable[[str], bool],
    status: Callable[[str], dict[str, Any]],
    eventually: Callable[[Callable[[], bool]], bool],
) -> None:
    relay = relays[RELAY]
    _expired(tmp_path, f"{RELAY}.postroad.test")
    pair = {name: (tmp_path / name).read_text() for name in ("fullchain.pem", "privkey.pem")}
    for name, text in pair.items():
        relay.host.check_output(f"printf %s '{text}' > /etc/postroad/tls/current/{name}")
    relay.host.check_output("systemctl reload relay-agent.service")
    assert eventually(lambda: status(RELAY)["expires"] < time.time())
    assert "mail programs refuse it" in relay.host.check_output("relay-agent status")
    assert relay.metric("postroad_certificate_expiry_timestamp_seconds") < time.time()
    assert eventually(lambda: bool(relay.events("certificate_expired")))
    assert timer_strikes(RELAY)
    assert shown(RELAY)
    assert eventually(lambda: status(RELAY)["expires"] > time.time())
    assert not status(RELAY)["soon"]


def _expired(directory: Path, name: str) -> None:
    """A certificate of yesterday, and its key."""
    script = (
        "openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -keyout privkey.pem -subj / -out csr.pem "
        f"-addext subjectAltName=DNS:{name} && touch index.txt && echo 01 > serial && "
        "printf '[ca]\\ndefault_ca=d\\n[d]\\ndatabase=index.txt\\nserial=serial\\nnew_certs_dir=.\\n"
        "default_md=sha256\\npolicy=p\\ncopy_extensions=copy\\n[p]\\n' > ca.conf && "
        "openssl ca -batch -selfsign -config ca.conf -keyfile privkey.pem -in csr.pem -out fullchain.pem -notext "
        "-startdate 20240101000000Z -enddate 20240201000000Z"
    )
    subprocess.run(["sh", "-c", script], cwd=directory, check=True, capture_output=True)
