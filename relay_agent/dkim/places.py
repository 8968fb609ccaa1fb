# SPDX-License-Identifier: GPL-3.0-or-later
"""Where keys are. Light: who only wants to know whether there are any loads nothing for it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from relay_agent.config.schema import Dkim

__all__ = ["SUFFIX", "DkimError", "key_files", "reason"]

SUFFIX = ".pem"


class DkimError(Exception):
    """Keys cannot be used or changed as asked; ``problems`` has each reason, str() one on each line."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


def key_files(config: Dkim) -> list[tuple[Path, str, str, bool]]:
    """Each key's file, domain, selector, and whether the configuration names it: those first, then the directory's.

    Looks only at names. Raises DkimError when the directory cannot be read.
    """
    given = [(key.file, key.domain.lower(), key.selector.lower(), True) for key in config.key]
    found = []
    try:
        for domain in sorted(config.directory.iterdir()) if config.directory.exists() else ():
            if domain.name.startswith(".") or not domain.is_dir():
                continue
            found += [
                (path, domain.name, path.name.removesuffix(SUFFIX), False)
                for path in sorted(domain.iterdir())
                if path.suffix == SUFFIX and not path.name.startswith(".")
            ]
    except OSError as error:
        raise DkimError([f"{error.filename}: {reason(error)}"]) from error
    return [*given, *found]


def reason(error: OSError) -> str:
    """What the system said, for the end of a line."""
    return (error.strerror or str(error)).lower()
