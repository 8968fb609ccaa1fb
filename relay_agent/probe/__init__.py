# SPDX-License-Identifier: GPL-3.0-or-later
"""What a network lets through to a relay, tried from where the traveller is: ``relay-agent probe``.

Standard library and `cryptography` only, threads instead of an event loop: it runs on Linux, macOS and Windows.
"""
