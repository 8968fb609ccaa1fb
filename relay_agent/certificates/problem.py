# SPDX-License-Identifier: GPL-3.0-or-later
"""What can go wrong with the relay's certificate."""

from __future__ import annotations

__all__ = ["CertificateError"]


class CertificateError(Exception):
    """A certificate could not be had, published or put to use; the text says why, and what is in use now."""
