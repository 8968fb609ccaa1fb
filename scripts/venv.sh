#!/bin/sh
# Makes .venv with everything an operator and the tests need, from the locked, hashed list, and links the
# checkout into it as the Ansible collection postroad.relay. Quick when nothing has changed.
set -eu
cd "$(dirname "$0")/.."

stamp=.venv/.lock-installed
if [ -f "$stamp" ] && cmp -s locks/operator.txt "$stamp" && [ -x .venv/bin/python ]; then
    exit 0
fi

python=${PYTHON:-python3}
command -v "$python" >/dev/null || {
    echo "postroad: no python3 found; install Python 3.11 or newer" >&2
    exit 1
}
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "postroad: $("$python" --version) is too old; Python 3.11 or newer is needed (set PYTHON=...)" >&2
    exit 1
}
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "postroad: python3-venv is missing: installing it from Debian"
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends python3-venv >/dev/null
    else
        echo "postroad: Python's venv module is missing; run: sudo apt install python3-venv" >&2
        exit 1
    fi
fi

echo "postroad: making .venv from locks/operator.txt ($(grep -c == locks/operator.txt) packages) ..."
"$python" -m venv --clear .venv
.venv/bin/pip install --quiet --quiet --disable-pip-version-check --require-hashes -r locks/operator.txt
.venv/bin/pip install --quiet --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
mkdir -p .venv/collections/ansible_collections/postroad
ln -sfn "$PWD" .venv/collections/ansible_collections/postroad/relay
cp locks/operator.txt "$stamp"
