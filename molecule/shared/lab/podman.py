# SPDX-License-Identifier: GPL-3.0-or-later
"""The few things that the lab asks of podman."""

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from typing import IO, Any

from lab.errors import LabError
from lab.process import last_line, run

__all__ = ["Podman"]


class Podman:
    """Podman with the settings that this machine needs (see ``lab.host``)."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = dict(environment)

    def __call__(self, *arguments: str, stdin: bytes | None = None, timeout: float | None = None) -> str:
        """Run ``podman`` with these arguments and return its output; raises LabError when it fails."""
        return run(["podman", *arguments], stdin=stdin, environment=self._environment, timeout=timeout)

    def succeeds(self, *arguments: str, timeout: float | None = None) -> bool:
        """Whether ``podman`` with these arguments ends with status 0."""
        try:
            self(*arguments, timeout=timeout)
        except LabError:
            return False
        return True

    def json(self, *arguments: str) -> list[dict[str, Any]]:
        """What podman prints in JSON, a list of objects."""
        found = json.loads(self(*arguments) or "[]")
        return found if isinstance(found, list) else []

    # Images

    def has_image(self, tag: str) -> bool:
        """Whether an image of that name is there."""
        return self.succeeds("image", "exists", tag)

    def images(self, repository: str) -> list[str]:
        """The full names of all images of a repository."""
        listed = self("images", "--format", "{{.Repository}}:{{.Tag}}", "--filter", f"reference={repository}")
        return [name for name in listed.split() if name.startswith(f"{repository}:")]

    def import_image(self, archive: IO[bytes], tag: str) -> str:
        """Make an image of one layer from an open tar file and return its name."""
        done = subprocess.run(
            ["podman", "import", "--quiet", "-", tag],
            stdin=archive,
            capture_output=True,
            env={**os.environ, **self._environment},
            check=False,
        )
        if done.returncode != 0:
            raise LabError(f"podman import: {last_line(done.stderr.decode(errors='replace'))}")
        return tag

    def retag(self, old: str, new: str) -> None:
        """Give an image another name."""
        self("tag", old, new)
        self("untag", old, old)

    def try_remove_image(self, tag: str) -> bool:
        """Remove an image unless a container uses it; whether it is gone."""
        return self.succeeds("image", "rm", tag)

    # Containers and networks

    def labelled(self, kind: str, labels: Mapping[str, str]) -> list[dict[str, Any]]:
        """All containers (``kind`` "container") or networks ("network") that carry these labels."""
        filters = [f"--filter=label={key}={value}" for key, value in labels.items()]
        if kind == "container":
            return self.json("ps", "--all", "--format=json", *filters)
        return self.json("network", "ls", "--format=json", *filters)

    def inspect(self, kind: str, names: Sequence[str]) -> list[dict[str, Any]]:
        """Podman's description of containers or networks that exist."""
        return self.json(kind, "inspect", *names) if names else []
