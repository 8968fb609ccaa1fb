# SPDX-License-Identifier: GPL-3.0-or-later
"""Pages as a browser on a host of the lab gets them."""

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["Get", "Page", "fetch"]


@dataclass(frozen=True)
class Page:
    """What a browser got. headers: by their names in small letters."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


Get = Callable[..., Page]
"""``get("relay1", "/ca.pem", "--header", "Host: other.test", scheme="http")``; options are curl's."""


def fetch(host: Any, authority: str, place: str, *options: str) -> Page:
    """Ask for a page from a host, which trusts the authority (a path there); its body is left in /root/body."""
    words = ["curl", "--silent", "--show-error", "--path-as-is", "--globoff", "--max-time", "20", "--http1.1"]
    words += ["--cacert", authority, "--dump-header", "/root/header", "--output", "/root/body", *options, place]
    host.check_output(f"rm -f /root/body && {shlex.join(words)} && touch /root/body")
    # After "100 Continue" come the headers of the answer.
    first, *lines = host.check_output("cat /root/header").replace("\r", "").strip().split("\n\n")[-1].splitlines()
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return Page(int(first.split()[1]), headers, host.run("cat /root/body").stdout_bytes)
