# SPDX-License-Identifier: GPL-3.0-or-later
"""A load generator for mail submission: many sessions from few processes, to loopback only.

`python -m benchmarks.load --help`. One epoll loop a process; no asyncio, whose transports and callbacks
would cost more than the dialogue itself, and the generator shares the machine with what it measures.
"""
