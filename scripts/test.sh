#!/usr/bin/env bash
# Everything that must pass, in one command. Installs what the tests need if it is missing:
# Debian's mosquitto and its clients, openssl and curl, paho's library in C and a compiler for it;
# Python's MQTT libraries in a virtual environment and npm's mqtt, both below target/. The versions
# of these are the ones that docs/interoperability.md names.
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
need cc gcc
[ -e /usr/include/stdio.h ] || missing+=("libc6-dev")
[ -e /usr/include/MQTTAsync.h ] || missing+=("libpaho-mqtt-dev")
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
libraries="paho-mqtt==2.1.0 aiomqtt==2.5.1 gmqtt==0.8.0 awscrt==0.38.1"
if [ "$(cat "$venv/libraries" 2>/dev/null)" != "$libraries" ]; then
    echo "installing $libraries"
    python3 -m venv "$venv"
    # shellcheck disable=SC2086
    "$venv/bin/python" -m pip install --quiet $libraries
    echo "$libraries" >"$venv/libraries"
fi
js=target/test-js
libraries="mqtt@5.16.0 paho-mqtt@1.1.0"
if [ "$(cat "$js/libraries" 2>/dev/null)" != "$libraries" ]; then
    echo "installing npm's $libraries"
    mkdir -p "$js"
    # shellcheck disable=SC2086
    npm install --silent --no-audit --no-fund --prefix "$js" $libraries
    echo "$libraries" >"$js/libraries"
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
