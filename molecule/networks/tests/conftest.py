# SPDX-License-Identifier: GPL-3.0-or-later
"""A router whose rules a test chooses, and the probe on the laptop."""

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from traffic.fixtures import AUTHORITY, STATE, compose, lab, laptop, mailboxes, on, passwords, power, relays, submit
from traffic.operator import play

__all__ = ["compose", "lab", "laptop", "mailboxes", "on", "passwords", "play", "power", "relays", "submit"]

_MIDDLEBOX = Path(__file__).resolve().parent.parent / "files/middlebox.py"
_PROBE_WITHIN = 10.0  # seconds, docs/traveller.md
_SSH = ["ssh", "-F", str(STATE / "ssh/config")]

Network = Callable[..., AbstractContextManager[None]]
Probe = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture(scope="session")
def router(on: Callable[[str], Any]) -> Any:
    """The provider's router, with what it may put in the way."""
    host = on("isp-router")
    subprocess.run(
        [*_SSH, "isp-router", "cat > /usr/local/sbin/middlebox && chmod 755 /usr/local/sbin/middlebox"],
        input=_MIDDLEBOX.read_bytes(),
        check=True,
    )
    host.check_output(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=proxy.isp.test "
        "-keyout /root/own.key -out /root/own.crt 2>/dev/null && cat /root/own.crt /root/own.key > /root/own.pem"
    )
    return host


@pytest.fixture(scope="session")
def network(router: Any) -> Network:
    """Rules of the router, as long as the test lasts: ``with network("tcp dport 587 drop"):``.

    forward: what is done with what passes. redirect: ports whose connections end at the router instead.
    to: the port there. middlebox: what runs behind port 9000.
    """

    @contextmanager
    def rules(*forward: str, redirect: str = "", to: int = 9000, middlebox: str = "") -> Iterator[None]:
        chains = "chain forward { type filter hook forward priority -5; " + "; ".join([*forward, ""]) + "}\n"
        if redirect:
            nat = f'iifname != "lo" tcp dport {{ {redirect} }} redirect to :{to}; '
            chains += "chain prerouting { type nat hook prerouting priority dstnat; " + nat + "}\n"
        router.check_output("nft %s", f"table inet walls {{ {chains} }}")
        try:
            if middlebox:
                program = f"/usr/local/sbin/middlebox {middlebox}"
                router.check_output(f"systemd-run --quiet --collect --unit=middlebox {program}")
                listens = "ss -Hltn 'sport = :9000' | grep -q ."
                router.check_output(f"for i in $(seq 200); do {listens} && exit 0; sleep 0.1; done; exit 1")
            yield
        finally:
            router.check_output("nft delete table inet walls")
            router.run("systemctl stop middlebox")

    return rules


@pytest.fixture(scope="session")
def probe(laptop: Any, relays: dict[str, Any]) -> Probe:
    """``relay-agent probe`` on the laptop: its exit status and what it found. The agent is the relay's own release."""
    release = relays["relay1"].host.check_output("readlink -f /opt/postroad/current")
    copied = " ".join([*_SSH, "relay1", f"sudo tar -C / -cf - {release[1:]}"])
    unpacked = " ".join([*_SSH, "laptop", "tar -C / -xf -"])
    subprocess.run(f"{copied} | {unpacked}", shell=True, check=True)

    def run(relay: str = "relay1", *options: str) -> tuple[int, dict[str, Any]]:
        words = f"{release}/bin/relay-agent probe {relay}.postroad.test --json --ca {AUTHORITY} {' '.join(options)}"
        done = laptop.run(words)
        assert done.stdout, done.stderr
        report: dict[str, Any] = json.loads(done.stdout)
        # In every network that is probed: where everything is dropped it takes longest.
        assert report["seconds"] <= _PROBE_WITHIN, f"{report['seconds']} s"
        return done.rc, report

    return run
