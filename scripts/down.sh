#!/bin/sh
# `make down`: removes the lab of `make up`: its hosts, networks, images, keys and passwords.
set -eu
cd "$(dirname "$0")/.."
if [ "$(id -u)" != 0 ]; then
    echo "postroad: the lab belongs to root; run: sudo make down" >&2
    exit 1
fi
if ! command -v podman >/dev/null; then
    echo "postroad: there is no podman here, so there is no lab to remove"
    exit 0
fi
PYTHONPATH=molecule/shared "${PYTHON:-python3}" -m lab destroy --lab up --images
rm -rf .build/up
