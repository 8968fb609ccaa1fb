# SPDX-License-Identifier: GPL-3.0-or-later
"""What every command's parser has: examples in its help, the options that all commands share."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

__all__ = ["DEFAULT_CONFIG", "CommandFormatter", "command", "config_option", "examples_text", "json_option"]

DEFAULT_CONFIG = Path("/etc/postroad/agent.toml")


class CommandFormatter(argparse.RawDescriptionHelpFormatter):
    """Keeps the examples' lines, fills the description."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if text.startswith("examples:"):
            return super()._fill_text(text, width, indent)
        return argparse.HelpFormatter._fill_text(self, text, width, indent)


def command(
    commands: Any, name: str, entry: str, short: str, long: str, examples: Sequence[str]
) -> argparse.ArgumentParser:
    """Add a command; `entry` is module:function, imported when the command runs."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=short, description=long, epilog=examples_text(examples), formatter_class=CommandFormatter
    )
    module, _, function = entry.partition(":")
    parser.set_defaults(command=(module, function))
    return parser


def examples_text(lines: Sequence[str]) -> str:
    return "examples:\n" + "".join(f"  {line}\n" for line in lines)


def config_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, metavar="FILE", default=DEFAULT_CONFIG, help="default: %(default)s")


def json_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
