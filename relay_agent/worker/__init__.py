# SPDX-License-Identifier: GPL-3.0-or-later
"""A worker: the process that takes, keeps and delivers mail; the supervisor starts one for each core."""
