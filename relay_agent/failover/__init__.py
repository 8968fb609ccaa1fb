# SPDX-License-Identifier: GPL-3.0-or-later
"""The relays of a fleet watch each other, and keep the address list of their common name to those that answer."""
