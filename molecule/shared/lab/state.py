# SPDX-License-Identifier: GPL-3.0-or-later
"""A lab's own directory in the checkout: keys, certificates, passwords, inventory. Never committed."""

import json
import os
import secrets
import shutil
from pathlib import Path
from typing import Any

from lab.process import run
from lab.topology import Lab

__all__ = ["State"]


class State:
    """What a lab keeps on the controller, below ``.lab/<name>/`` of the checkout.

    Everything is made once and kept until ``destroy``, so that a second ``create`` finds its hosts
    as it left them.
    """

    def __init__(self, checkout: Path, lab: Lab, *, sockets: Path | None = None) -> None:
        self.checkout = checkout
        self.root = checkout / ".lab" / lab.name
        # A socket's path has room for a hundred bytes, and a checkout may lie deeper than that.
        self.sockets = sockets if sockets is not None else Path("/run") / f"postroad-lab-{lab.name}"
        self._lab = lab

    @property
    def ssh_key(self) -> Path:
        """The private key that every host lets in as root."""
        return self.root / "ssh" / "id_ed25519"

    @property
    def ssh_config(self) -> Path:
        """A configuration for ``ssh -F`` in which the hosts' short names work."""
        return self.root / "ssh" / "config"

    @property
    def inventory(self) -> Path:
        """The directory to give to ``ansible-playbook -i``."""
        return self.root / "inventory"

    def host_key(self, host: str) -> Path:
        """The private key that a host proves itself with."""
        return self.root / "ssh" / "hosts" / host

    def certificate(self, host: str) -> tuple[Path, Path]:
        """Certificate and private key of a host, signed by the lab's own authority."""
        return self.root / "authority" / f"{host}.pem", self.root / "authority" / f"{host}.key"

    def prepare(self, certificates_for: list[str]) -> None:
        """Make what is not there yet. ``certificates_for`` names the hosts that need a certificate."""
        self.root.mkdir(parents=True, exist_ok=True)
        self.root.chmod(0o700)
        self.sockets.mkdir(mode=0o700, exist_ok=True)
        for key in [self.ssh_key, *(self.host_key(host) for host in self._lab.hosts)]:
            _make_ssh_key(key)
        self._make_secrets()
        for host in certificates_for:
            self._make_certificate(host)
        self._write_ssh_files()
        self._write_inventory()

    def remove(self) -> None:
        """Remove everything that ``prepare`` made."""
        shutil.rmtree(self.root, ignore_errors=True)
        shutil.rmtree(self.sockets, ignore_errors=True)
        parent = self.root.parent
        # Shared by the labs of this checkout; the last one clears it away.
        if parent.exists() and not any(child.is_dir() for child in parent.iterdir()):
            shutil.rmtree(parent)

    def _make_secrets(self) -> None:
        path = self.root / "secrets.yml"
        if path.exists():
            return
        # Letters and digits alone: swaks takes a password that begins with a dash for an option.
        passwords = {account: secrets.token_hex(16) for account in self._lab.accounts}
        # JSON is YAML, too.
        _write_private(path, json.dumps({"accounts": passwords}, indent=2) + "\n")

    def _make_certificate(self, host: str) -> None:
        authority, authority_key = self.root / "authority" / "authority.pem", self.root / "authority" / "authority.key"
        authority.parent.mkdir(mode=0o700, exist_ok=True)
        new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc"]
        if not authority.exists():
            name = ["-subj", f"/CN=Postroad lab {self._lab.name} authority"]
            use = ["-addext", "keyUsage=critical,keyCertSign,cRLSign"]
            files = ["-keyout", str(authority_key), "-out", str(authority)]
            run(["openssl", "req", "-x509", *new_key, "-days", "3650", *name, *use, *files])
        certificate, key = self.certificate(host)
        if not certificate.exists():
            fqdn = self._lab.hosts[host].fqdn
            extensions = ["-addext", f"subjectAltName=DNS:{fqdn}", "-addext", "basicConstraints=critical,CA:false"]
            signer = ["-CA", str(authority), "-CAkey", str(authority_key), "-days", "825"]
            files = ["-keyout", str(key), "-out", str(certificate)]
            run(["openssl", "req", "-x509", *new_key, *signer, "-subj", f"/CN={fqdn}", *extensions, *files])

    def _write_ssh_files(self) -> None:
        known = []
        blocks = []
        for name, host in self._lab.hosts.items():
            public = self.host_key(name).with_suffix(".pub").read_text().split()[:2]
            addresses = [text for _, address in host.networks for text in (address.ipv4, address.ipv6)]
            known.append(f"{','.join(addresses)} {' '.join(public)}\n")
            blocks.append(f"Host {name}\n    HostName {host.address.ipv4}\n")
        known_hosts = self.root / "ssh" / "known_hosts"
        known_hosts.write_text("".join(known))
        blocks.append(
            "Host *\n"
            "    User root\n"
            f"    IdentityFile {self.ssh_key}\n"
            "    IdentitiesOnly yes\n"
            f"    UserKnownHostsFile {known_hosts}\n"
            "    StrictHostKeyChecking yes\n"
            "    ControlMaster auto\n"
            f"    ControlPath {self.sockets}/%h\n"
            "    ControlPersist 120\n"
            # A host that is stopped says nothing; without these the shared connection waits for ever.
            "    ConnectTimeout 10\n"
            "    ServerAliveInterval 3\n"
            "    ServerAliveCountMax 3\n"
        )
        self.ssh_config.write_text("".join(blocks))

    def _write_inventory(self) -> None:
        self.inventory.mkdir(exist_ok=True)
        inventory = self.describe_inventory()
        (self.inventory / "hosts.json").write_text(json.dumps(inventory, indent=2) + "\n")
        link = self.inventory / "group_vars"
        target = self.checkout / "inventories" / "lab" / "group_vars"
        if not link.is_symlink():
            link.symlink_to(os.path.relpath(target, self.inventory), target_is_directory=True)

    def describe_inventory(self) -> dict[str, Any]:
        """The inventory in the form that Ansible's YAML plugin reads."""
        groups: dict[str, dict[str, Any]] = {}
        for name, host in self._lab.hosts.items():
            variables = {
                "ansible_host": host.address.ipv4,
                "lab_ipv6": host.address.ipv6,
                "lab_fqdn": host.fqdn,
            }
            for group in host.groups:
                groups.setdefault(group, {"hosts": {}})["hosts"][name] = variables
        about = {
            "lab_name": self._lab.name,
            "lab_state": str(self.root),
            "lab_zone": self._lab.zone,
            "lab_resolver": self._lab.resolver.address.ipv4,
            "lab_mail_domains": list(self._lab.mail_domains),
            "lab_networks": {
                name: {"ipv4": str(network.ipv4), "ipv6": str(network.ipv6)}
                for name, network in self._lab.networks.items()
            },
        }
        return {"all": {"vars": about, "children": groups}}


def _make_ssh_key(path: Path) -> None:
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "postroad-lab", "-f", str(path)])


def _write_private(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
