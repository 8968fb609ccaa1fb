# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab: real hosts in podman containers, with systemd, sshd and their own firewall.

Standard library only, so that the lab can be built before (or while) the
project's virtual environment is.
"""
