# SPDX-License-Identifier: GPL-3.0-or-later
"""From each network: what every mail program gets through with one setting, and what the probe says of the network."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import pytest
from traffic.fixtures import AUTHORITY
from traffic.mail_programs import EVERY_PROGRAM as PROGRAMS
from traffic.mail_programs import Submission
from traffic.mailboxes import Mailboxes

Network = Callable[..., AbstractContextManager[None]]
Probe = Callable[..., tuple[int, dict[str, Any]]]

_TLS_PORTS = "443, 465, 2465"
_STARTTLS_PORTS = "587, 2525, 8025"


def found(report: dict[str, Any], port: int, family: str = "ipv4") -> dict[str, Any]:
    """What the probe found out about a port."""
    (entry,) = [each for each in report["ports"] if (each["port"], each["family"]) == (port, family)]
    return dict(entry)


def setting(report: dict[str, Any]) -> tuple[int, str]:
    """The setting that the probe recommends."""
    return report["setting"]["port"], report["setting"]["security"]


@pytest.fixture
def everybody_sends(
    compose: Callable[..., Submission], submit: Callable[[Submission], Any], mailboxes: Mailboxes
) -> Callable[..., None]:
    """Has every mail program send with the one setting, and waits for the messages."""

    def send(port: int = 443, programs: Sequence[str] = PROGRAMS) -> None:
        sent = [compose("relay1", port=port, program=program) for program in programs]
        for each in sent:
            done = submit(each)
            assert done.rc == 0, f"{each.program}: {done.stdout}{done.stderr}"
        tokens = [each.token for each in sent]
        assert mailboxes.wait_for(tokens, seconds=20) == dict.fromkeys(tokens, 1)

    return send


def test_an_ordinary_provider(probe: Probe, everybody_sends: Callable[..., None]) -> None:
    """Port 25 vanishes; everything else passes."""
    status, report = probe()
    assert status == 0
    assert report["signed"] is True
    assert found(report, 25)["what"] == "silent"
    for port in (443, 465, 587, 2525, 8025, 2465):
        for family in ("ipv4", "ipv6"):
            assert found(report, port, family)["what"] == "open", (port, family)
    assert setting(report) == (443, "TLS")
    everybody_sends()


def test_the_ports_of_mail_are_dropped(network: Network, probe: Probe, everybody_sends: Callable[..., None]) -> None:
    with network("tcp dport { 25, 465, 587 } drop"):
        status, report = probe()
        assert status == 0
        assert [found(report, port)["what"] for port in (25, 465, 587, 443)] == ["silent", "silent", "silent", "open"]
        assert setting(report) == (443, "TLS")
        everybody_sends()


def test_only_the_web_gets_through(network: Network, probe: Probe, everybody_sends: Callable[..., None]) -> None:
    with network("ct direction original tcp dport != { 22, 53, 80, 443 } reject with tcp reset"):
        status, report = probe()
        assert status == 0
        assert found(report, 587)["what"] == "refused"
        assert setting(report) == (443, "TLS")
        everybody_sends()


def test_port_25_ends_at_the_provider_s_own_server(
    network: Network, probe: Probe, router: Any, everybody_sends: Callable[..., None]
) -> None:
    router.check_output(
        "postconf -e 'smtpd_banner=mail.isp.test ESMTP Postfix' inet_interfaces=all mydestination= && "
        "systemctl restart postfix"
    )
    with network(redirect="25", to=25):
        status, report = probe()
        assert status == 0
        assert found(report, 25)["what"] == "other"
        assert "mail.isp.test" in found(report, 25)["words"]
        everybody_sends()


def test_starttls_is_taken_out(network: Network, probe: Probe, everybody_sends: Callable[..., None]) -> None:
    with network(redirect=_STARTTLS_PORTS, middlebox="strip"):
        status, report = probe()
        assert status == 0
        for port in (587, 2525, 8025):
            assert found(report, port)["what"] == "stripped", found(report, port)
        assert setting(report) == (443, "TLS")
        everybody_sends()


def test_starttls_is_taken_out_and_nothing_else_gets_through(network: Network, probe: Probe) -> None:
    """Known from an honest network, the relay is recognised behind the middlebox, and nobody signs in."""
    probe()
    with network(f"tcp dport {{ {_TLS_PORTS} }} drop", redirect=_STARTTLS_PORTS, middlebox="strip"):
        status, report = probe()
        assert status == 1
        assert report["signed"] is True
        assert report["setting"] is None
        assert found(report, 587)["what"] == "stripped"


def test_somebody_reads_along(network: Network, probe: Probe, everybody_sends: Callable[..., None]) -> None:
    with network(redirect=_TLS_PORTS, middlebox="own /root/own.pem"):
        status, report = probe()
        assert status == 0
        for port in (443, 465, 2465):
            assert found(report, port)["what"] == "certificate", found(report, port)
            assert "proxy.isp.test" in found(report, port)["words"]
        assert setting(report) == (587, "STARTTLS")
        everybody_sends(587)


def test_no_program_gives_its_password_to_somebody_who_reads_along(
    network: Network, compose: Callable[..., Submission], submit: Callable[[Submission], Any]
) -> None:
    with network(redirect=_TLS_PORTS, middlebox="own /root/own.pem"):
        for program in PROGRAMS:
            assert submit(compose("relay1", port=443, program=program)).rc != 0, program


def test_a_login_page(network: Network, probe: Probe) -> None:
    with network("ct direction original tcp dport != { 22, 53 } drop", redirect="80, 443", middlebox="portal"):
        status, report = probe()
        assert status == 1
        assert found(report, 80)["what"] == "portal"
        assert "http://login.hotel.test/" in found(report, 80)["words"]


def test_only_ipv6(laptop: Any, probe: Probe, everybody_sends: Callable[..., None]) -> None:
    route = laptop.check_output("ip -4 route show default")
    laptop.check_output("ip -4 route del default")
    try:
        status, report = probe()
        assert status == 0
        assert found(report, 443, "ipv6")["what"] == "open"
        assert found(report, 443, "ipv4")["what"] == "unreachable"
        assert setting(report) == (443, "TLS")
        # Debian's swaks comes without the Perl module that it needs for IPv6.
        everybody_sends(programs=[program for program in PROGRAMS if program != "swaks"])
    finally:
        laptop.check_output(f"ip -4 route add {route}")


def test_the_network_changes_in_the_middle_of_a_message(
    network: Network,
    laptop: Any,
    passwords: dict[str, str],
    compose: Callable[..., Submission],
    submit: Callable[[Submission], Any],
    mailboxes: Mailboxes,
) -> None:
    """What was half sent is not mail; sent again, it arrives once."""
    one = compose("relay1", port=443, program="curl")
    laptop.check_output("yes 'a line of the large message' | head -c 3000000 > /root/large; rm -f /root/status")
    slowly = (
        f"curl --silent --max-time 12 --limit-rate 300k --cacert {AUTHORITY} smtps://{one.relay}:443 "
        f"--user {one.account}:{passwords[one.account]} --mail-from {one.sender} --mail-rcpt {one.recipient} "
        "--upload-file /root/large"
    )
    laptop.check_output(f"({slowly}; echo $? > /root/status) >/dev/null 2>&1 </dev/null & sleep 3")
    with network("tcp dport 443 drop"):
        laptop.check_output("for i in $(seq 40); do test -s /root/status && break; sleep 0.5; done")
        assert laptop.check_output("cat /root/status") != "0"
    assert submit(one).rc == 0
    assert mailboxes.wait_for([one.token], seconds=20) == {one.token: 1}
