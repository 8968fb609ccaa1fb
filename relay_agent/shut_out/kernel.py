# SPDX-License-Identifier: GPL-3.0-or-later
"""The sets of the packet filter that hold who is shut out, changed through the program `nft`."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterable, Mapping

from relay_agent.shut_out.ledger import Address

__all__ = ["FilterError", "add", "remove", "run_nft"]

_TABLE = "inet postroad"
_SETS = {4: "shut_out4", 6: "shut_out6"}
_SECONDS = 20

Runner = Callable[[str], None]


class FilterError(Exception):
    """nft refused, or was not there; the text is its own."""


def run_nft(commands: str) -> None:
    """Have nft carry out commands in one transaction. Raises FilterError."""
    command = ["nft", "-f", "-"]
    try:
        done = subprocess.run(command, input=commands, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise FilterError(str(error)) from None
    if done.returncode != 0:
        raise FilterError(next(iter(done.stderr.strip().splitlines()), f"exit status {done.returncode}"))


def add(seconds: Mapping[Address, float], run: Runner = run_nft) -> None:
    """Shut addresses out for so many seconds each; one that is shut out stays so. Raises FilterError."""
    commands = []
    for version, name in _SETS.items():
        elements = [f"{one} timeout {int(left)}s" for one, left in seconds.items() if one.version == version]
        if elements:
            commands.append(f"add element {_TABLE} {name} {{ {', '.join(elements)} }}\n")
    if commands:
        run("".join(commands))


def remove(addresses: Iterable[Address], run: Runner = run_nft) -> None:
    """Let addresses in again. Raises FilterError, also when one is not in the set."""
    # Added first: there is no way in nft 1.0.6 to delete what may not be there.
    run(
        "".join(
            f"add element {_TABLE} {_SETS[one.version]} {{ {one} }}\n"
            f"delete element {_TABLE} {_SETS[one.version]} {{ {one} }}\n"
            for one in addresses
        )
    )
