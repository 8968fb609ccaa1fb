# SPDX-License-Identifier: GPL-3.0-or-later
"""opendkim-testmsg, the verifier of others: in a network of its own, whose one resolver is an nsd with our records."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.integration.delivery.peers import program

__all__ = ["verify"]

_SCRIPT = """
set -eu
ip link set lo up
mount --bind "$1/resolv.conf" /etc/resolv.conf
"$2" -d -c "$1/nsd.conf" 2>"$1/log" &
nsd=$!
trap 'kill $nsd; wait $nsd || true' EXIT
tries=600
until grep -q ':0035 ' /proc/net/udp; do
    tries=$((tries - 1))
    [ $tries -gt 0 ] || { cat "$1/log" >&2; exit 99; }
    sleep 0.05
done
"$3" < "$1/message"
"""


def verify(message: bytes, zone: str, directory: Path) -> str:
    """What opendkim-testmsg has against the signatures of a message: "" for nothing.

    zone: records as `relay-agent dkim record` prints them. It verifies the topmost signature and says nothing when
    that fits.
    """
    directory.mkdir()
    (directory / "message").write_bytes(b"\r\n".join(message.splitlines()) + b"\r\n")
    (directory / "resolv.conf").write_text("nameserver 127.0.0.1\n")
    (directory / "test.zone").write_text(f"$TTL 5\n@ SOA ns hostmaster 1 60 60 60 5\n@ NS ns\nns A 127.0.0.1\n{zone}\n")
    (directory / "nsd.conf").write_text(
        f"""server:
    ip-address: 127.0.0.1
    username: ""
    chroot: ""
    zonesdir: "{directory}"
    pidfile: "{directory}/pid"
    database: ""
    xfrdfile: "{directory}/xfrd"
    xfrdir: "{directory}"
    zonelistfile: "{directory}/zones"
    server-count: 1
remote-control:
    control-enable: no
zone:
    name: test.
    zonefile: test.zone
"""
    )
    alone = ["unshare", "--net", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    command = [*alone, "sh", "-c", _SCRIPT, "sh", str(directory), program("nsd"), program("opendkim-testmsg")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    said = (done.stdout + done.stderr).strip()
    return said if said or done.returncode == 0 else f"exit status {done.returncode}"
