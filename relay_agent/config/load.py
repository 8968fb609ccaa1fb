# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the configuration file and say everything that is wrong with it, in words.

`parse_config` looks only at the text, so that it can judge a file on a machine where nothing else of the host
exists. `load_config` also looks at what the file names on this host: certificate, key, passwords, accounts.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from .explain import explain
from .rules import check_rules
from .schema import Config

__all__ = ["ConfigError", "Inspection", "Problem", "inspect_config", "load_config", "parse_config", "read_config"]

_MAX_FILE_BYTES = 1024 * 1024


@dataclass(slots=True, frozen=True)
class Problem:
    """One fault: in which file, at which key (or line), and what was expected. `warning`: it works regardless."""

    file: str
    key: str
    problem: str
    warning: bool = False

    def __str__(self) -> str:
        return ": ".join(part for part in (self.file, self.key, self.problem) if part)


class ConfigError(Exception):
    """The configuration cannot be used; `problems` has every fault found, str() one on each line."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


@dataclass(slots=True, frozen=True)
class Inspection:
    """What was found in a file: the configuration unless a problem forbids it, and every problem and warning."""

    config: Config | None
    problems: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()


def load_config(path: Path | str) -> Config:
    """The configuration of this host, checked together with the files that it names.

    Raises ``ConfigError`` with all problems. Warnings are to be had from `inspect_config`.
    """
    inspection = inspect_config(path)
    if inspection.config is None or inspection.problems:
        raise ConfigError(inspection.problems)
    return inspection.config


def inspect_config(path: Path | str) -> Inspection:
    """As `load_config`, without raising: the problems and the warnings are in what is returned."""
    from .host import check_host  # needs ssl: not on the way of a command that only reads the file

    try:
        config = read_config(path)
    except ConfigError as error:
        return Inspection(None, error.problems)
    found = [Problem(str(path), *fault) for fault in check_host(config)]
    problems = tuple(problem for problem in found if not problem.warning)
    return Inspection(config, problems, tuple(problem for problem in found if problem.warning))


def read_config(path: Path | str) -> Config:
    """The configuration in a file, without a look at the files that it names.

    For commands that need only a path or two out of it. Raises ``ConfigError``.
    """
    try:
        with Path(path).open("rb") as file:
            data = file.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError(
            [Problem(str(path), "", f"cannot be read: {(error.strerror or str(error)).lower()}")]
        ) from error
    return parse_config(data, str(path))


def parse_config(text: str | bytes, filename: str) -> Config:
    """The configuration in this text; `filename` is for the messages. Raises ``ConfigError`` with all problems."""
    if len(text) > _MAX_FILE_BYTES:
        message = f"larger than {_MAX_FILE_BYTES} bytes (expected a configuration file of a few KB)"
        raise ConfigError([Problem(filename, "", message)])
    document = _parse_toml(text, filename)
    problems: list[tuple[str, str]] = []
    config: Config | None
    try:
        config = Config.model_validate(document)
    except ValidationError as error:
        problems = explain(error, document)
        config = _without_unknown_keys(error, document)
    if config is not None:
        problems += check_rules(config, document)
    if config is None or problems:
        raise ConfigError(Problem(filename, key, problem) for key, problem in problems)
    return config


def _without_unknown_keys(error: ValidationError, document: dict[str, Any]) -> Config | None:
    """The configuration if unknown keys were its only faults: so that those of the rules are told as well."""
    for detail in error.errors(include_url=False):
        if detail["type"] != "extra_forbidden":
            return None
        table: Any = document
        for part in detail["loc"][:-1]:
            table = table[part]
        del table[detail["loc"][-1]]
    try:
        return Config.model_validate(document)
    except ValidationError:
        return None


def _parse_toml(data: str | bytes, filename: str) -> dict[str, Any]:
    if isinstance(data, str):
        text = data
    else:
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            message = f"byte 0x{data[error.start]:02x} is not UTF-8 (expected a text file in UTF-8)"
            raise ConfigError([Problem(filename, f"line {line}", message)]) from None
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ConfigError([Problem(filename, "", "nested too deeply (expected TOML)")]) from None
    except ValueError as error:  # TOMLDecodeError is one; so is a number of ten thousand digits
        message, _, place = str(error).partition(" (at ")
        where = place.rstrip(")")
        # A character that a terminal would act on must not reach it.
        message = "".join(letter if letter.isprintable() else f"\\x{ord(letter):02x}" for letter in message)
        raise ConfigError([Problem(filename, where, f"{message[:1].lower()}{message[1:]} (expected TOML)")]) from None
