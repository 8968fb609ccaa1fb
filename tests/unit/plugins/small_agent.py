# SPDX-License-Identifier: GPL-3.0-or-later
"""An agent of a few lines, for a `Machine` on which a module runs."""

__all__ = ["COUNT", "SETUP"]

# Says how much mail it has by a file, and whether it is drained as the agent does, by another.
_AGENT = """#!/bin/sh
case "$*" in
    *count*) cat /etc/count.json ;;
    status*) [ -e /etc/postroad/drained.json ] && drained='"drained": {},'; echo "{$drained \\"reloading\\": false}" ;;
esac
"""
COUNT = '{"messages": %d, "recipients": %d, "held": 0, "leaving": 0}'
SETUP = f"""
mkdir -p /opt/postroad/current/bin /etc/postroad
cat > /opt/postroad/current/bin/relay-agent <<'END'
{_AGENT}END
chmod 755 /opt/postroad/current/bin/relay-agent
echo '{COUNT % (0, 0)}' > /etc/count.json
systemctl start relay-agent.socket relay-agent.service
"""
