# SPDX-License-Identifier: GPL-3.0-or-later
"""What the agent costs and how fast it is, next to Postfix on the same machine (docs/performance.md)."""
