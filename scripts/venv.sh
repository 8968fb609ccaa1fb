#!/bin/sh
# Makes .venv with everything an operator and the tests need, from the locked, hashed list, and links the
# checkout into it as the Ansible collection postroad.relay. Quick when nothing has changed.
set -eu
cd "$(dirname "$0")/.."

stamp=.venv/.lock-installed
if [ -f "$stamp" ] && cmp -s locks/operator.txt "$stamp" && [ -x .venv/bin/python ]; then
    exit 0
fi

sh scripts/python.sh

echo "postroad: making .venv from locks/operator.txt ($(grep -c == locks/operator.txt) packages) ..."
"${PYTHON:-python3}" -m venv --clear .venv
.venv/bin/pip install --quiet --quiet --disable-pip-version-check --require-hashes -r locks/operator.txt
.venv/bin/pip install --quiet --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
mkdir -p .venv/collections/ansible_collections/postroad
ln -sfn "$PWD" .venv/collections/ansible_collections/postroad/relay
cp locks/operator.txt "$stamp"
