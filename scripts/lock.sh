#!/bin/sh
# Writes the two locks anew from pyproject.toml: what the relay runs, and what operators and tests need.
set -eu
cd "$(dirname "$0")/.."
lock() {
    out=$1
    shift
    .venv/bin/uv --quiet pip compile --universal --python-version 3.11 --generate-hashes --upgrade \
        --no-emit-index-url --no-emit-find-links --no-annotate --no-header --output-file "$out" "$@" pyproject.toml
    echo "$out: $(grep -c == "$out") packages"
}
lock locks/agent.txt
lock locks/operator.txt --extra operator --extra dev
