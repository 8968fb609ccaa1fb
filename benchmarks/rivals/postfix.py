# SPDX-License-Identifier: GPL-3.0-or-later
"""Debian's Postfix with a configuration and queue of its own, tuned to be as fast as it can be at full durability.

Nothing of the system's Postfix is read or touched; `master` is started directly and only on loopback.
What differs from Debian's defaults is in `SETTINGS`, each with its reason. What does not: a queue file is
synced before the 250, as always with Postfix. Passwords are in a Cyrus sasldb, compared as they stand:
the cheapest sign-in that Postfix has (the agent's are hashed with argon2).
"""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import signal
import subprocess
import time
from pathlib import Path

from benchmarks.rivals.relay import ACCOUNT, PASSWORD, Certificate, Ports, RelayError, free_ports, wait_for_greeting

__all__ = ["SETTINGS", "Postfix", "main_cf", "master_cf"]

DAEMONS = Path("/usr/lib/postfix/sbin")

#: What is set otherwise than Debian does, and why.
SETTINGS = {
    "default_process_limit": ("200", "concurrency raised: never the limit"),
    "default_destination_concurrency_limit": ("20", "as many connections to the sink as the agent makes"),
    "initial_destination_concurrency": ("20", "from the first message on"),
    "in_flow_delay": ("0", "does not slow a client down when mail comes in faster than it goes out"),
    "qmgr_message_active_limit": ("100000", "never waits for a place in the active queue"),
    "qmgr_message_recipient_limit": ("100000", "the same"),
    "max_use": ("100000", "processes serve on instead of being replaced after 100 uses"),
    "smtpd_peername_lookup": ("no", "no name lookup of the client, as the agent makes none"),
    "message_size_limit": ("52428800", "as the agent's"),
    "smtpd_client_connection_count_limit": ("0", "every client comes from one address here"),
}

_QUEUE = ("active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming", "private", "saved", "trace")


def main_cf(directory: Path, certificate: Certificate, sink: int) -> str:
    """The text of main.cf."""
    own = {
        "compatibility_level": "3.6",
        "queue_directory": f"{directory}/queue",
        "data_directory": f"{directory}/data",
        "daemon_directory": str(DAEMONS),
        "command_directory": "/usr/sbin",
        "mail_owner": "postfix",
        "setgid_group": "postdrop",
        "maillog_file": f"{directory}/log/postfix.log",
        "maillog_file_prefixes": str(directory),
        "myhostname": "bench.test",
        "mydestination": "",
        "alias_maps": "",
        "mynetworks": "127.0.0.0/8",
        "inet_interfaces": "127.0.0.1",
        "inet_protocols": "ipv4",
        "relayhost": f"[127.0.0.1]:{sink}",
        "smtpd_tls_chain_files": f"{certificate.key}, {certificate.certificate}",
        "smtpd_tls_session_cache_database": "",
        "smtpd_sasl_type": "cyrus",
        "smtpd_sasl_path": "smtpd",
        "cyrus_sasl_config_path": f"{directory}/conf/sasl",
        "smtpd_sasl_local_domain": "bench.test",
        "smtpd_relay_restrictions": "permit_mynetworks, permit_sasl_authenticated, reject",
    }
    own |= {name: value for name, (value, _) in SETTINGS.items()}
    return "".join(f"{name} = {value}\n" for name, value in own.items())


def master_cf(ports: Ports) -> str:
    """The text of master.cf: Debian's services that a relay needs, without chroot, and three ports."""
    signed_in = "-o smtpd_sasl_auth_enable=yes -o smtpd_relay_restrictions=permit_sasl_authenticated,reject"
    return f"""\
127.0.0.1:{ports.plain} inet n - n - - smtpd
127.0.0.1:{ports.starttls} inet n - n - - smtpd -o smtpd_tls_security_level=encrypt {signed_in}
127.0.0.1:{ports.implicit} inet n - n - - smtpd -o smtpd_tls_wrappermode=yes {signed_in}
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
pickup unix n - n 60 1 pickup
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""


class Postfix:
    """Debian's Postfix on free ports of loopback. Needs root, as Postfix does.

    directory: for configuration, log and queue, on a real disk; its parents can be entered by `postfix`.
    """

    name = "postfix"

    def __init__(self, directory: Path, certificate: Certificate, sink: int) -> None:
        self.ports = Ports(*free_ports(3))
        self.pid = 0
        self.directory = directory
        self._certificate = certificate
        self._sink = sink
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Raises RelayError with the end of the log."""
        if os.geteuid() != 0 or not (DAEMONS / "master").exists():
            raise RelayError("Postfix must be installed (scripts/test-packages.sh) and be started by root")
        self._make_directories()
        conf = self.directory / "conf"
        (conf / "main.cf").write_text(main_cf(self.directory, self._certificate, self._sink))
        (conf / "master.cf").write_text(master_cf(self.ports))
        self._make_account(conf / "sasl")
        output = (self.directory / "log" / "master").open("ab")
        with output:
            self._process = subprocess.Popen([DAEMONS / "master", "-c", conf, "-d"], stdout=output, stderr=output)
        self.pid = self._process.pid
        if not wait_for_greeting(self.ports.plain, self._process):
            self.stop()
            raise RelayError(f"Postfix did not start: {self.logged()}")

    def stop(self) -> None:
        """SIGTERM to master, which ends its children (master(8))."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None
        time.sleep(0.2)

    def logged(self) -> str:
        """The last lines of its log."""
        lines: list[str] = []
        for name in ("master", "postfix.log"):
            path = self.directory / "log" / name
            if path.exists():
                lines += path.read_text("utf-8", "replace").splitlines()[-20:]
        return "\n".join(lines)

    def _make_directories(self) -> None:
        owner = pwd.getpwnam("postfix")
        postdrop = grp.getgrnam("postdrop").gr_gid
        for name in ("conf", "conf/sasl", "log", "queue", "queue/pid"):
            (self.directory / name).mkdir(parents=True, exist_ok=True)
        self.directory.chmod(0o755)
        for name in ("data", *(f"queue/{each}" for each in _QUEUE)):
            path = self.directory / name
            path.mkdir(exist_ok=True)
            path.chmod(0o700)
            os.chown(path, owner.pw_uid, owner.pw_gid if name == "data" else 0)
        for name, mode in (("maildrop", 0o1730), ("public", 0o2710)):
            path = self.directory / "queue" / name
            path.mkdir(exist_ok=True)
            os.chown(path, owner.pw_uid, postdrop)
            path.chmod(mode)

    def _make_account(self, directory: Path) -> None:
        database = directory / "sasldb2"
        (directory / "smtpd.conf").write_text(
            f"pwcheck_method: auxprop\nauxprop_plugin: sasldb\nsasldb_path: {database}\nmech_list: PLAIN LOGIN\n"
        )
        if not database.exists():
            subprocess.run(
                ["saslpasswd2", "-p", "-c", "-f", database, "-u", "bench.test", ACCOUNT],
                input=PASSWORD.encode(),
                check=True,
            )
            shutil.chown(database, "postfix", "postfix")
