# SPDX-License-Identifier: GPL-3.0-or-later
"""The packet filter loaded into real kernels' network namespaces."""
