# SPDX-License-Identifier: GPL-3.0-or-later
"""Names and addresses of the lab's hosts."""

from pathlib import Path

import pytest
from lab.errors import LabError
from lab.topology import Lab, lab_names, load_lab

SHARED = Path(__file__).parents[3] / "molecule/shared"

SMALL = """
zone = "postroad.test"
mail_domains = ["alpha.test"]
accounts = ["alice"]
resolver = "one"
controller = 1
router = 2
[labs.up]
net = { ipv4 = "198.51.100.0/28", ipv6 = "fd00::/64" }
[hosts.one]
groups = ["relays"]
image = "small"
networks = { net = 3 }
"""


def load(tmp_path: Path, text: str) -> Lab:
    path = tmp_path / "topology.toml"
    path.write_text(text)
    return load_lab(path, "up")


@pytest.mark.parametrize("name", ["up", "test"])
def test_every_host_has_an_address_in_each_of_its_networks(name: str) -> None:
    lab = load_lab(SHARED / "topology.toml", name)
    for host in lab.hosts.values():
        assert host.container == f"postroad-{name}-{host.name}"
        for network, address in host.networks:
            assert address.ipv4 in map(str, network.ipv4.hosts())
            assert address.mac.startswith("02:")


def test_the_two_labs_never_touch() -> None:
    up, test = (load_lab(SHARED / "topology.toml", name) for name in ("up", "test"))
    for one in up.networks.values():
        for other in test.networks.values():
            assert not one.ipv4.overlaps(other.ipv4)
            assert not one.ipv6.overlaps(other.ipv6)
            assert one.podman_name != other.podman_name


def test_the_router_stands_where_the_others_look_for_it() -> None:
    lab = load_lab(SHARED / "topology.toml", "up")
    (router,) = [host for host in lab.hosts.values() if host.forwards]
    assert {network.name for network, _ in router.networks} == set(lab.networks)
    for network, address in router.networks:
        assert address == network.address(lab.router)


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ('resolver = "one"', 'resolver = "two"', "resolver two is not a host"),
        ("networks = { net = 3 }", "networks = { net = 300 }", "no room for number 300"),
        ("networks = { net = 3 }", "networks = { other = 3 }", "one is in network other"),
        ('image = "small"', 'image = "small"\nlabs = ["up", "down"]', "one is in the lab down, which does not exist"),
        ('image = "small"', 'image = "small"\ncount = 0', "host one has the count 0"),
        ('image = "small"', 'image = "small"\ncount = 30', "no room for number 16"),
    ],
)
def test_a_contradiction_is_named(tmp_path: Path, old: str, new: str, complaint: str) -> None:
    with pytest.raises(LabError, match=complaint):
        load(tmp_path, SMALL.replace(old, new))


def test_two_hosts_cannot_share_an_address(tmp_path: Path) -> None:
    twin = '[hosts.two]\ngroups = []\nimage = "small"\nnetworks = { net = 3 }\n'
    with pytest.raises(LabError, match="two and one have the same address"):
        load(tmp_path, SMALL + twin)


def test_hosts_of_a_kind_are_counted(tmp_path: Path) -> None:
    several = '[hosts.more]\ngroups = ["relays"]\nimage = "small"\nnetworks = { net = 5 }\ncount = 3\nfirst = 2\n'
    lab = load(tmp_path, SMALL + several)
    assert list(lab.hosts) == ["one", "more2", "more3", "more4"]
    assert [host.address.ipv4 for host in lab.hosts.values()] == [f"198.51.100.{number}" for number in (3, 5, 6, 7)]
    assert lab.hosts["more3"].container == "postroad-up-more3"


def test_a_counted_host_is_no_other_host_too(tmp_path: Path) -> None:
    twin = '[hosts.on]\ngroups = []\nimage = "small"\nnetworks = { net = 5 }\ncount = 1\n[hosts.on1]\ngroups = []\n'
    with pytest.raises(LabError, match="there are two hosts on1; one of them is counted from on"):
        load(tmp_path, SMALL + twin + 'image = "small"\nnetworks = { net = 6 }\n')


def test_the_lab_of_the_benchmark_has_thirty_relays_in_a_row() -> None:
    lab = load_lab(SHARED / "topology.toml", "deploy")
    relays = [host.name for host in lab.hosts.values() if "relays" in host.groups]
    assert relays == [f"relay{number}" for number in range(1, 31)]


def test_no_two_labs_share_a_range() -> None:
    labs = [load_lab(SHARED / "topology.toml", name) for name in lab_names(SHARED / "topology.toml")]
    ranges = [(lab.name, network.ipv4) for lab in labs for network in lab.networks.values()]
    for name, one in ranges:
        assert not [other for other, network in ranges if network.overlaps(one) and (other, network) != (name, one)]


def test_a_host_is_in_every_lab_unless_told() -> None:
    up, test = (load_lab(SHARED / "topology.toml", name) for name in ("up", "test"))
    # What only a scenario needs costs `make up` nothing.
    assert set(test.hosts) - set(up.hosts) == {"smarthost1", "smarthost2"}
    assert set(up.hosts) <= set(test.hosts)


def test_unknown_names_are_answered_with_the_known_ones() -> None:
    with pytest.raises(LabError, match="choose from up, test"):
        load_lab(SHARED / "topology.toml", "down")
    with pytest.raises(LabError, match=r"no host nobody .* relay1"):
        load_lab(SHARED / "topology.toml", "up").host("nobody")
