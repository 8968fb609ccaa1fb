# SPDX-License-Identifier: GPL-3.0-or-later
"""``python -m relay_agent`` is the command ``relay-agent``."""

import sys

from relay_agent.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
