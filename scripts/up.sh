#!/bin/sh
# `make up`: see scripts/up.py, which needs no more than the system's Python.
set -eu
cd "$(dirname "$0")/.."
if [ "$(id -u)" != 0 ]; then
    echo "postroad: the lab runs systemd in containers and needs root; run: sudo make up" >&2
    exit 1
fi
sh scripts/python.sh
exec "${PYTHON:-python3}" scripts/up.py "$@"
