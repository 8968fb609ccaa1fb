# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line: ``python -m lab COMMAND``. Exit status 0 is good, 1 a failure that one line explains."""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from lab.errors import LabError
from lab.host import ensure_host, podman_environment
from lab.images import ensure_images, load_recipes, remove_images
from lab.lifecycle import Lifecycle, exclusive
from lab.podman import Podman
from lab.progress import Progress
from lab.state import State
from lab.topology import lab_names, load_lab

__all__ = ["main"]

_SHARED = Path(__file__).resolve().parent.parent
_TOPOLOGY = _SHARED / "topology.toml"
_CHECKOUT = _SHARED.parent.parent


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    options = _parser().parse_args(arguments)
    try:
        _carry_out(options, Progress())
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("lab: interrupted; run the same command again to go on", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="lab", description="The lab: real hosts in podman containers.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("ensure-host", help="install what the lab needs on this machine, after saying so")
    images = commands.add_parser("images", help="build the images that are missing")
    images.add_argument("--lab", choices=lab_names(_TOPOLOGY), help="only those of this lab's hosts")
    for name, text in (
        ("create", "bring a lab up, or mend it"),
        ("destroy", "remove a lab: hosts, networks, keys, inventory"),
        ("status", "show the hosts of a lab"),
        ("stop", "switch a host off"),
        ("start", "switch a host on"),
        ("restart", "reboot a host"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument("--lab", choices=lab_names(_TOPOLOGY), default="up")
        if name == "destroy":
            command.add_argument("--images", action="store_true", help="remove the images, too")
            command.add_argument("--force", action="store_true", help="also a lab that another checkout made")
        if name == "status":
            command.add_argument("--json", action="store_true")
        if name in ("stop", "start", "restart"):
            command.add_argument("host")
        if name in ("stop", "restart"):
            command.add_argument("--hard", action="store_true", help="a power cut instead of a shutdown")
    return parser


def _carry_out(options: argparse.Namespace, progress: Progress) -> None:
    if options.command == "ensure-host":
        ensure_host(progress)
        return
    if os.geteuid() != 0:
        raise LabError("the lab needs root (it runs systemd in containers): run this as root, e.g. with sudo")
    recipes = load_recipes(_SHARED / "images.toml")
    with tempfile.TemporaryDirectory(prefix="postroad-lab-conf-") as conf:
        podman = Podman(podman_environment(Path(conf) / "containers.conf"))
        if options.command == "images":
            used = {host.image for host in load_lab(_TOPOLOGY, options.lab).hosts.values()} if options.lab else recipes
            with exclusive("images", progress):
                ensure_images([recipes[name] for name in sorted(used)], podman, progress)
            return
        lab = load_lab(_TOPOLOGY, options.lab)
        lifecycle = Lifecycle(lab, State(_CHECKOUT, lab), recipes, _SHARED / "files", podman, progress)
        with exclusive(lab.name, progress):
            _work_on_lab(options, lifecycle)
        if options.command == "destroy" and options.images:
            with exclusive("images", progress):
                remove_images(list(recipes.values()), podman, progress)


def _work_on_lab(options: argparse.Namespace, lifecycle: Lifecycle) -> None:
    match options.command:
        case "create":
            lifecycle.create()
        case "destroy":
            lifecycle.destroy(force=options.force)
        case "stop":
            lifecycle.stop(options.host, hard=options.hard)
        case "start":
            lifecycle.start(options.host)
        case "restart":
            lifecycle.restart(options.host, hard=options.hard)
        case "status":
            rows = lifecycle.status()
            if options.json:
                print(json.dumps(rows, indent=2))
            else:
                for row in rows:
                    print(f"{row['host']:<12} {row['state']:<9} {row['ipv4']:<16} {row['ipv6']}")
