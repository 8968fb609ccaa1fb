# SPDX-License-Identifier: GPL-3.0-or-later
"""``relay-agent check-config``."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from relay_agent.config.load import ConfigError, Inspection, inspect_config, read_config

from .terminal import complain, escape, print_json, print_problem, style

__all__ = ["check_config"]


def check_config(arguments: argparse.Namespace) -> int:
    """0 when the agent would start with this file, 2 with every problem when it would not."""
    inspection = _inspect(arguments)
    good = inspection.config is not None and not inspection.problems
    if arguments.json:
        print_json(
            {
                "file": str(arguments.file),
                "good": good,
                "problems": [_plain(problem) for problem in inspection.problems],
                "warnings": [_plain(warning) for warning in inspection.warnings],
            }
        )
        return 0 if good else 2
    for warning in inspection.warnings:
        print(style("warning: ", "yellow") + escape(str(warning)))
    for problem in inspection.problems:
        print_problem(str(problem))
    if good:
        print(f"{escape(str(arguments.file))}: {style('good', 'green')}")
        return 0
    count = len(inspection.problems)
    complain(f"{arguments.file} has {count} problem{'s' if count > 1 else ''}; an agent would not start with it")
    return 2


def _inspect(arguments: argparse.Namespace) -> Inspection:
    if not arguments.text_only:
        return inspect_config(arguments.file)
    try:
        return Inspection(read_config(arguments.file))
    except ConfigError as error:
        return Inspection(None, error.problems)


def _plain(problem: object) -> dict[str, str]:
    fields = asdict(problem)  # type: ignore[call-overload]
    return {key: fields[key] for key in ("file", "key", "problem")}
