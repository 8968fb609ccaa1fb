# SPDX-License-Identifier: GPL-3.0-or-later
"""The relay's own certificate: renewed on the host, proved in a handshake, its next key announced ahead."""
