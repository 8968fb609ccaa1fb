# SPDX-License-Identifier: GPL-3.0-or-later
"""The one error that the lab shows to a person."""

__all__ = ["LabError"]


class LabError(Exception):
    """Something a person can act on; its text is one line and says what to do."""
