# SPDX-License-Identifier: GPL-3.0-or-later
"""The files that a host starts with."""

import io
import tarfile
from pathlib import Path

import pytest
from lab.errors import LabError
from lab.files import HostFile, collect, fill_in, pack, values_for
from lab.topology import load_lab

SHARED = Path(__file__).parents[3] / "molecule/shared"


def test_values_are_filled_in() -> None:
    assert fill_in("name {{ name }}, {{zone}}.", {"name": "mx", "zone": "z"}, where="x") == "name mx, z."


def test_an_unknown_value_is_named_with_its_file() -> None:
    with pytest.raises(LabError, match=r"files/mx/main\.cf\.in: \{\{ nmae \}\}"):
        fill_in("{{ nmae }}", {"name": "mx"}, where="files/mx/main.cf.in")


@pytest.mark.parametrize("name", ["up", "test"])
def test_every_host_of_the_lab_can_be_filled_in(name: str) -> None:
    lab = load_lab(SHARED / "topology.toml", name)
    for host in lab.hosts.values():
        files = collect(SHARED / "files", host, values_for(lab, host))
        assert host.fqdn in files["etc/hosts"].content.decode()
        assert lab.resolver.address.ipv4 in files["etc/resolv.conf"].content.decode()
        assert not [path for path in files if path.endswith(".in")]


def test_the_router_has_no_route_through_itself() -> None:
    lab = load_lab(SHARED / "topology.toml", "up")
    routes = {
        host.name: collect(SHARED / "files", host, values_for(lab, host))["etc/lab-routes"].content.strip()
        for host in lab.hosts.values()
    }
    assert routes["isp-router"] == b""
    isp = lab.networks["isp"].address(lab.router)
    expected = f"route replace default via {isp.ipv4}\nroute replace default via {isp.ipv6}"
    assert routes["laptop"] == expected.encode()


def test_units_are_enabled_where_they_are() -> None:
    lab = load_lab(SHARED / "topology.toml", "up")
    files = collect(SHARED / "files", lab.hosts["mx"], values_for(lab, lab.hosts["mx"]))
    wants = "etc/systemd/system/multi-user.target.wants"
    assert files[f"{wants}/postfix.service"].link == "/lib/systemd/system/postfix.service"
    assert files[f"{wants}/lab-routes.service"].link == "/etc/systemd/system/lab-routes.service"


def test_an_archive_has_modes_and_links_and_no_time_of_its_own() -> None:
    files = {"etc/key": HostFile(b"secret", mode=0o600), "etc/link": HostFile(link="/etc/key")}
    archive = pack(files)
    assert archive == pack(dict(reversed(files.items())))
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        key, link = opened.getmembers()
    assert (key.name, key.mode, key.uid, key.size) == ("etc/key", 0o600, 0, 6)
    assert (link.name, link.issym(), link.linkname) == ("etc/link", True, "/etc/key")
    # nsd takes a zone file of the year 1970 for one that was never written.
    assert key.mtime > 0
