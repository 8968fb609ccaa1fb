#!/bin/sh
# The long run of the fuzz targets: scripts/fuzz.sh SECONDS [TARGET ...]. Installs atheris from its lock first.
set -eu
cd "$(dirname "$0")/.."
seconds=$1
shift

stamp=.venv/.fuzz-installed
if ! cmp -s locks/fuzz.txt "$stamp"; then
    if .venv/bin/pip install --quiet --quiet --disable-pip-version-check --only-binary :all: --require-hashes \
        -r locks/fuzz.txt; then
        cp locks/fuzz.txt "$stamp"
    else
        echo "postroad: no atheris for this Python here; inputs are made blindly" >&2
    fi
fi
exec nice -n 19 .venv/bin/python -m tests.fuzz.run --seconds "$seconds" "$@"
