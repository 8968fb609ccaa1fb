# SPDX-License-Identifier: GPL-3.0-or-later
"""Which hosts a lab has, and the names and addresses of each."""

import ipaddress
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.errors import LabError

__all__ = ["Address", "Host", "Lab", "Network", "lab_names", "load_lab"]


@dataclass(frozen=True)
class Address:
    """A host's place in one network, in both families, without prefix length."""

    ipv4: str
    ipv6: str

    @property
    def mac(self) -> str:
        """A hardware address that stays the same: of the locally administered range, with the IPv4 address."""
        return "02:50:" + ":".join(f"{byte:02x}" for byte in ipaddress.IPv4Address(self.ipv4).packed)


@dataclass(frozen=True)
class Network:
    """One network of one lab."""

    name: str
    podman_name: str
    ipv4: ipaddress.IPv4Network
    ipv6: ipaddress.IPv6Network

    def address(self, number: int) -> Address:
        """The addresses of the host with this number; raises LabError if the network is too small."""
        try:
            return Address(ipv4=str(self.ipv4[number]), ipv6=str(self.ipv6[number]))
        except IndexError:
            raise LabError(f"topology: network {self.name} has no room for number {number}") from None


@dataclass(frozen=True)
class Host:
    """One host of one lab. ``networks`` are in the order of its interfaces (eth0, eth1, ...).

    ``certificate`` is where a certificate of the lab's authority goes, without leading slash and
    suffix (.pem, .key); empty: the host gets none.
    """

    name: str
    fqdn: str
    container: str
    image: str
    groups: tuple[str, ...]
    networks: tuple[tuple[Network, Address], ...]
    files: tuple[str, ...]
    enable: tuple[str, ...]
    forwards: bool
    certificate: str

    @property
    def address(self) -> Address:
        """Where the host is reached: its place in its first network."""
        return self.networks[0][1]


@dataclass(frozen=True)
class Lab:
    """A whole lab, all names and addresses worked out."""

    name: str
    zone: str
    mail_domains: tuple[str, ...]
    accounts: tuple[str, ...]
    resolver: Host
    controller: int
    router: int
    networks: dict[str, Network]
    hosts: dict[str, Host]

    def host(self, name: str) -> Host:
        """The host of that name; raises LabError with the known names."""
        try:
            return self.hosts[name]
        except KeyError:
            raise LabError(f"there is no host {name} in the lab: choose from {', '.join(self.hosts)}") from None


def lab_names(path: Path) -> list[str]:
    """The labs that a file like topology.toml has, in its order."""
    return list(tomllib.loads(path.read_text())["labs"])


def load_lab(path: Path, name: str) -> Lab:
    """Work out the lab ``name`` of a file like topology.toml; raises LabError where it contradicts itself."""
    topology = tomllib.loads(path.read_text())
    if name not in topology["labs"]:
        raise LabError(f"there is no lab {name}: choose from {', '.join(topology['labs'])}")
    networks = {
        network: Network(
            name=network,
            podman_name=f"postroad-{name}-{network}",
            ipv4=ipaddress.IPv4Network(ranges["ipv4"]),
            ipv6=ipaddress.IPv6Network(ranges["ipv6"]),
        )
        for network, ranges in topology["labs"][name].items()
    }
    entries = {
        entry_name: entry
        for entry_name, entry in topology["hosts"].items()
        if name in _labs(entry_name, entry, topology["labs"])
    }
    hosts = {host: _host(host, entry, name, topology["zone"], networks) for host, entry in _counted(entries).items()}
    _refuse_shared_addresses(hosts)
    if topology["resolver"] not in hosts:
        raise LabError(f"topology: resolver {topology['resolver']} is not a host")
    return Lab(
        name=name,
        zone=topology["zone"],
        mail_domains=tuple(topology["mail_domains"]),
        accounts=tuple(topology["accounts"]),
        resolver=hosts[topology["resolver"]],
        controller=topology["controller"],
        router=topology["router"],
        networks=networks,
        hosts=hosts,
    )


def _labs(host: str, entry: dict[str, Any], known: Collection[str]) -> Collection[str]:
    """The labs that a host is in: all, unless told. Raises LabError for one that is not there."""
    labs: Collection[str] = entry.get("labs", known)
    for lab in labs:
        if lab not in known:
            raise LabError(f"topology: host {host} is in the lab {lab}, which does not exist")
    return labs


def _counted(entries: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Each host with an entry of its own, where ``count`` makes several of one. Raises LabError for a name twice."""
    hosts: dict[str, dict[str, Any]] = {}
    for name, entry in entries.items():
        if "count" not in entry:
            several = {name: entry}
        else:
            count, first = entry["count"], entry.get("first", 1)
            if count < 1:
                raise LabError(f"topology: host {name} has the count {count}: one at least")
            several = {
                f"{name}{first + step}": entry
                | {"networks": {network: number + step for network, number in entry["networks"].items()}}
                for step in range(count)
            }
        for host, description in several.items():
            if host in hosts:
                raise LabError(f"topology: there are two hosts {host}; one of them is counted from {name}")
            hosts[host] = description
    return hosts


def _host(name: str, entry: dict[str, Any], lab: str, zone: str, networks: dict[str, Network]) -> Host:
    for network in entry["networks"]:
        if network not in networks:
            raise LabError(f"topology: host {name} is in network {network}, which lab {lab} does not have")
    return Host(
        name=name,
        fqdn=f"{name}.{zone}",
        container=f"postroad-{lab}-{name}",
        image=entry.get("images", {}).get(lab, entry["image"]),
        groups=tuple(entry["groups"]),
        networks=tuple(
            (networks[network], networks[network].address(number)) for network, number in entry["networks"].items()
        ),
        files=tuple(entry.get("files", ())),
        enable=tuple(entry.get("enable", ())),
        forwards=entry.get("forwards", False),
        certificate=entry.get("certificate", "").lstrip("/"),
    )


def _refuse_shared_addresses(hosts: dict[str, Host]) -> None:
    taken: dict[str, str] = {}
    for host in hosts.values():
        for _, address in host.networks:
            if address.ipv4 in taken:
                raise LabError(f"topology: {host.name} and {taken[address.ipv4]} have the same address")
            taken[address.ipv4] = host.name
