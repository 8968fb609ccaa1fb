#!/bin/sh
# Writes the locks anew from pyproject.toml: what the relay runs, what operators and tests need, what fuzzing needs.
set -eu
cd "$(dirname "$0")/.."
lock() {
    out=$1
    shift
    .venv/bin/uv --quiet pip compile --universal --python-version 3.11 --generate-hashes --upgrade \
        --no-emit-index-url --no-emit-find-links --no-annotate --no-header --output-file "$out" "$@"
    echo "$out: $(grep -c == "$out") packages"
}
lock locks/agent.txt pyproject.toml
lock locks/operator.txt --extra operator --extra dev pyproject.toml
lock locks/fuzz.txt --group fuzz
