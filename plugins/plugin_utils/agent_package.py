# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes `relay_agent` importable on the controller: imported before it. The agent lies beside the plugins."""

from __future__ import annotations

import sys
from pathlib import Path

__all__ = ["ROOT"]

ROOT = Path(__file__).resolve().parents[2]

if str(ROOT) not in sys.path:
    sys.path.append(str(ROOT))
