# SPDX-License-Identifier: GPL-3.0-or-later
"""Which image a host needs."""

from dataclasses import replace
from pathlib import Path

from lab.images import Recipe, load_recipes
from lab.topology import load_lab

SHARED = Path(__file__).parents[3] / "molecule/shared"
RECIPE = Recipe(name="small", suite="bookworm", packages=("a", "b"))


def test_an_image_keeps_its_name_until_its_recipe_changes() -> None:
    assert replace(RECIPE, packages=("b", "a")).tag == RECIPE.tag
    others = [
        replace(RECIPE, suite="trixie"),
        replace(RECIPE, packages=("a", "b", "c")),
        replace(RECIPE, disable=("a.service",)),
    ]
    assert len({RECIPE.tag, *(other.tag for other in others)}) == 4


def test_there_is_a_recipe_for_every_host() -> None:
    recipes = load_recipes(SHARED / "images.toml")
    for host in load_lab(SHARED / "topology.toml", "test").hosts.values():
        assert host.image in recipes


def test_the_relays_come_as_a_hoster_gives_them() -> None:
    recipes = load_recipes(SHARED / "images.toml")
    for name, suite in (("relay-bookworm", "bookworm"), ("relay-trixie", "trixie")):
        assert recipes[name].suite == suite
        assert {"openssh-server", "python3"} <= set(recipes[name].packages)
        assert not {"postfix", "swaks", "curl"} & set(recipes[name].packages)
