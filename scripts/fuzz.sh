#!/usr/bin/env bash
# Runs each fuzz target for a minute, or for as many seconds as FUZZ_SECONDS says; with names, only
# those. It needs a nightly compiler and cargo-fuzz; without them it says so and fails. The same bodies
# run in the ordinary tests (tests/fuzz_bodies) on a stable compiler.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds="${FUZZ_SECONDS:-60}"
targets=("$@")
if [ "${#targets[@]}" -eq 0 ]; then
    targets=(codec conf acl passwords containment)
fi

without() {
    echo "fuzz.sh: $1; no target was run" >&2
    echo "fuzz.sh: the bodies of the targets also run in: cargo test --test fuzz_bodies" >&2
    exit 1
}

command -v rustup >/dev/null || without "rustup is not installed"
rustup toolchain list | grep -q '^nightly' ||
    without "no nightly compiler: rustup toolchain install nightly --profile minimal"
command -v cargo-fuzz >/dev/null ||
    without "cargo-fuzz is not installed: cargo install cargo-fuzz --locked"

# The versions that the broker is built with.
[ -e tests/fuzz/Cargo.lock ] || cp Cargo.lock tests/fuzz/Cargo.lock
# A target directory of the caller's is for other flags.
unset CARGO_TARGET_DIR

cargo run --quiet --manifest-path tests/fuzz/Cargo.toml --example seeds -- tests/fuzz/corpus
for target in "${targets[@]}"; do
    echo "fuzz.sh: $target, $seconds seconds"
    # Inputs beyond 4 KiB only make it slower; one that takes 10 seconds is a finding.
    cargo +nightly fuzz run --fuzz-dir tests/fuzz "$target" -- \
        -max_total_time="$seconds" -max_len=4096 -timeout=10 -rss_limit_mb=2048 -print_final_stats=1
done
