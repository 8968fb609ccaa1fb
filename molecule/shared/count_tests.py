# SPDX-License-Identifier: GPL-3.0-or-later
"""Fails unless enough tests ran: a scenario that finds no test file passes in silence otherwise."""

import argparse
import sys
from pathlib import Path
from xml.etree import ElementTree as ET


def ran(path: Path) -> int:
    """How many tests of a JUnit file ran, skipped ones not counted.

    Raises OSError without the file, ParseError when it was cut short.
    """
    suites = list(ET.parse(path).getroot().iter("testsuite"))
    return sum(int(suite.get("tests", "0")) - int(suite.get("skipped", "0")) for suite in suites)


def main() -> int:
    """Compare a JUnit file with what is expected; exit status 1 when it falls short."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("junit", type=Path)
    parser.add_argument("--at-least", type=int, required=True)
    options = parser.parse_args()
    try:
        count = ran(options.junit)
    except (OSError, ET.ParseError) as error:
        print(f"no test ran: {options.junit}: {error}", file=sys.stderr)
        return 1
    if count < options.at_least:
        print(f"only {count} tests ran, expected at least {options.at_least}", file=sys.stderr)
        return 1
    print(f"{count} tests ran, expected at least {options.at_least}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
