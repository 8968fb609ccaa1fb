# SPDX-License-Identifier: GPL-3.0-or-later
"""The images: built from Debian's packages with mmdebstrap, kept in podman until their recipe changes."""

import hashlib
import json
import os
import subprocess
import tempfile
import tomllib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab.errors import LabError
from lab.podman import Podman
from lab.process import last_line, run, succeeds
from lab.progress import Progress
from lab.sources import find_mirror, host_apt_options

__all__ = ["IMAGE_PREFIX", "Recipe", "ensure_images", "load_recipes", "remove_images"]

IMAGE_PREFIX = "localhost/postroad-lab"

# Goes into the tag: raise it when the way of building changes what comes out.
_FORMAT = 1

# Nobody reads the documentation inside; removed at the end, because leaving it out while unpacking
# sends every package through a filter that takes five times as long.
_LEAN = ("usr/share/doc", "usr/share/man", "usr/share/info", "usr/share/locale", "var/cache/debconf")

# What unpacking three systems side by side takes, with room to spare, in bytes.
_TMPFS_NEEDS = 6 << 30


@dataclass(frozen=True)
class Recipe:
    """What an image is made of: a suite, packages, and the units that must not start by themselves."""

    name: str
    suite: str
    packages: tuple[str, ...]
    disable: tuple[str, ...] = ()

    @property
    def tag(self) -> str:
        """The image's full name; it changes with anything that is in the recipe."""
        recipe = [_FORMAT, self.suite, sorted(self.packages), sorted(self.disable), _LEAN]
        digest = hashlib.sha256(json.dumps(recipe).encode()).hexdigest()[:12]
        return f"{IMAGE_PREFIX}-{self.name}:{digest}"


def load_recipes(path: Path) -> dict[str, Recipe]:
    """Read the recipes of a file like images.toml."""
    return {
        name: Recipe(
            name=name,
            suite=entry["suite"],
            packages=tuple(entry["packages"]),
            disable=tuple(entry.get("disable", ())),
        )
        for name, entry in tomllib.loads(path.read_text()).items()
    }


def ensure_images(recipes: list[Recipe], podman: Podman, progress: Progress) -> None:
    """Build those images that are not there yet, side by side."""
    absent = [recipe for recipe in recipes if not podman.has_image(recipe.tag)]
    if not absent:
        return
    # The largest first: with two cores the last one then has company for most of its time.
    absent.sort(key=lambda recipe: len(recipe.packages), reverse=True)
    with ThreadPoolExecutor(max_workers=len(absent)) as pool:
        for built in [pool.submit(_build, recipe, podman, progress) for recipe in absent]:
            built.result()
    for recipe in absent:
        for stale in podman.images(f"{IMAGE_PREFIX}-{recipe.name}"):
            # One that another lab still uses stays: podman refuses to remove it.
            if stale != recipe.tag and podman.try_remove_image(stale):
                progress.say(f"removed the image that it replaces, {stale}")


def remove_images(recipes: list[Recipe], podman: Podman, progress: Progress) -> None:
    """Remove every image that was built for the lab."""
    for recipe in recipes:
        for tag in podman.images(f"{IMAGE_PREFIX}-{recipe.name}"):
            done = podman.try_remove_image(tag)
            progress.say(f"removed image {tag}" if done else f"image {tag} stays: a container uses it")


def _build(recipe: Recipe, podman: Podman, progress: Progress) -> None:
    with (
        progress.step(f"image {recipe.name}: {recipe.suite} and {len(recipe.packages)} packages"),
        _workspace() as work,
    ):
        sources = work / "sources.list"
        sources.write_text(find_mirror().sources(recipe.suite))
        # Straight from one program into the other: the tar file would be a quarter of a gigabyte.
        bootstrap = subprocess.Popen(
            _bootstrap_command(recipe, sources),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "TMPDIR": str(work)},
        )
        assert bootstrap.stdout is not None
        assert bootstrap.stderr is not None
        with ThreadPoolExecutor(max_workers=1) as reader:
            complaints = reader.submit(bootstrap.stderr.read)
            building = f"{IMAGE_PREFIX}-building:{recipe.name}"
            try:
                podman.import_image(bootstrap.stdout, building)
            finally:
                bootstrap.stdout.close()
                status = bootstrap.wait()
            if status != 0:
                podman.try_remove_image(building)
                complaint = complaints.result().decode(errors="replace")
                raise LabError(f"image {recipe.name} could not be built: {_reason(complaint)}")
        # Only a complete image gets the name that later runs look for.
        podman.retag(building, recipe.tag)


def _reason(complaint: str) -> str:
    """What apt or dpkg said; mmdebstrap's own last words are only that something failed."""
    marks = ("E:", "dpkg:", "Err:", "error:")
    errors = [line.strip() for line in complaint.splitlines() if line.startswith(marks)]
    return "; ".join(errors[:4]) or last_line(complaint)


@contextmanager
def _workspace() -> Iterator[Path]:
    """A directory to unpack in: in memory where there is plenty, because dpkg syncs every file to disk."""
    with tempfile.TemporaryDirectory(prefix="postroad-lab-") as name:
        work = Path(name)
        work.chmod(0o755)  # apt works as a user of its own and must get in
        in_memory = _memory_available() > _TMPFS_NEEDS and succeeds(
            ["mount", "-t", "tmpfs", "-o", "size=2g,mode=755", "postroad-lab", name]
        )
        try:
            yield work
        finally:
            if in_memory:
                run(["umount", "--lazy", name])


def _memory_available() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0


def _bootstrap_command(recipe: Recipe, sources: Path) -> list[str]:
    command = ["mmdebstrap", "--mode=root", "--variant=minbase", f"--include={','.join(recipe.packages)}"]
    command += ["--dpkgopt=force-unsafe-io", *(f"--aptopt={option}" for option in host_apt_options())]
    if recipe.disable:
        command += [f'--customize-hook=systemctl --root="$1" disable {" ".join(recipe.disable)}']
    # Keys, machine id and addresses belong to a host, never to an image that several hosts share.
    command += [
        '--customize-hook=rm -f "$1"/etc/ssh/ssh_host_* "$1"/etc/machine-id "$1"/etc/resolv.conf',
        '--customize-hook=touch "$1"/etc/machine-id',
        f'--customize-hook=cd "$1" && find {" ".join(_LEAN)} -mindepth 1 -delete',
    ]
    return [*command, recipe.suite, "-", str(sources)]
