#!/bin/sh
# Makes sure that there is a Python 3.11 or newer with its venv module: what every other script needs first.
# Installs it from Debian where it is missing, after saying so; without root it says what to do.
set -eu
python=${PYTHON:-python3}

install() {
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "postroad: installing $1 from Debian"
        apt-get -qq update
        DEBIAN_FRONTEND=noninteractive apt-get -qq -y install --no-install-recommends "$1" >/dev/null
    else
        echo "postroad: $1 is missing; run: sudo apt install $1" >&2
        exit 1
    fi
}

command -v "$python" >/dev/null || install python3
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "postroad: $("$python" --version) is too old; Python 3.11 or newer is needed (set PYTHON=...)" >&2
    exit 1
}
"$python" -c 'import ensurepip, venv' 2>/dev/null || install python3-venv
