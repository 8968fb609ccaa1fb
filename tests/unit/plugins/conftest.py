# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes `ansible_collections.postroad.relay` importable, as Ansible's own loader does for plugins."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(sys.prefix) / "collections"))
