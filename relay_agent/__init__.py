"""Postroad's relay agent: takes signed-in mail, keeps it safe, carries it on."""
# SPDX-License-Identifier: GPL-3.0-or-later

__all__ = ["__version__"]

__version__ = "0.1.0"
