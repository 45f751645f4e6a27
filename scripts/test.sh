#!/usr/bin/env bash
# Everything that must pass, in one command. Installs what the tests need if it is missing:
# Debian's mosquitto and its clients, openssl and curl, Python's paho-mqtt in a virtual
# environment, npm's mqtt. Both of the latter go below target/.
set -euo pipefail
cd "$(dirname "$0")/.."

sudo=""
[ "$(id -u)" -eq 0 ] || sudo="sudo"

missing=()
need() { command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ] || missing+=("$2"); }
need mosquitto mosquitto
need mosquitto_pub mosquitto-clients
need openssl openssl
need curl curl
need node nodejs
need npm npm
need promtool prometheus
need systemd-analyze systemd
need python3 python3
python3 -c 'import venv, ensurepip' >/dev/null 2>&1 || missing+=("python3-venv")
if [ "${#missing[@]}" -gt 0 ]; then
    echo "installing ${missing[*]}"
    $sudo apt-get update -qq
    # The packages start services of their own; the tests do not want them.
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' | $sudo tee "$policy" >/dev/null
        $sudo chmod +x "$policy"
        trap '$sudo rm -f /usr/sbin/policy-rc.d' EXIT
    fi
    DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

venv=target/test-venv
if ! "$venv/bin/python" -c 'import paho.mqtt' >/dev/null 2>&1; then
    echo "installing paho-mqtt"
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet paho-mqtt==2.1.0
fi
js=target/test-js
if [ ! -d "$js/node_modules/mqtt" ]; then
    echo "installing npm's mqtt"
    mkdir -p "$js"
    npm install --silent --no-audit --no-fund --prefix "$js" mqtt@5
fi

step() { printf '\n== %s\n' "$*"; }
step "format"
cargo fmt --all --check
step "lints"
cargo clippy --locked --all-targets -- -D warnings
step "documentation"
RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --quiet
step "tests"
cargo test --locked
