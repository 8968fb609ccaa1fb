# SPDX-License-Identifier: GPL-3.0-or-later
"""The relays that are measured, each with its own configuration and queue, and the sink behind them."""
