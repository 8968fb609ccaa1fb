# SPDX-License-Identifier: GPL-3.0-or-later
"""What holds for every test of the agent and of the collection."""

from hypothesis import settings

# No limit in time for one example (200 ms by default): a machine that stalls for a moment is no fault of the code.
settings.register_profile("postroad", deadline=None)
settings.load_profile("postroad")
