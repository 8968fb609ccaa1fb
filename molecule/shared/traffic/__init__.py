# SPDX-License-Identifier: GPL-3.0-or-later
"""What the scenarios' tests need to send mail in the lab and to see what became of it.

Independent of the collection's own probe modules, so that a fault there cannot hide one of the relay.
"""
