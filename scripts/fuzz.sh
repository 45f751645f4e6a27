#!/usr/bin/env bash
# Runs the fuzz targets one after the other; with names, only those:
#
#   scripts/fuzz.sh                                  each target for a minute
#   FUZZ_SECONDS=600 scripts/fuzz.sh connection      one of them for ten
#   FUZZ_RUNS=5000000 scripts/fuzz.sh publish auth   so many executions, however long they take
#   FUZZ_SANITIZER=address RUSTUP_TOOLCHAIN=nightly scripts/fuzz.sh codec
#
# Each run ends with the number of executions (stat::number_of_executed_units); docs/testing.md keeps
# a table of them. It needs cargo-fuzz (`cargo install cargo-fuzz --locked`) and a C++ compiler. Any
# Rust compiler will do: without a sanitizer nothing unstable is asked for. With one a nightly compiler
# is needed; the broker has no unsafe code of its own, so little is missed without.
#
# What the targets found is kept in tests/fuzz/artifacts, which git ignores: make a test of it where
# the mistake was. `cargo fuzz run --fuzz-dir tests/fuzz --sanitizer none TARGET FILE`
# runs one input again. The corpus grows in tests/fuzz/corpus, ignored too: its beginnings are written
# from the bodies (tests/fuzz_bodies/bodies), words for the mutations stand in tests/fuzz/mqtt.dict. A
# few thousand inputs of each target are also run by `cargo test --test fuzz_bodies`.
set -euo pipefail
cd "$(dirname "$0")/.."

targets=("$@")
if [ "${#targets[@]}" -eq 0 ]; then
    # Every line `name = "..."` of a [[bin]].
    mapfile -t targets < <(sed -n '/^\[\[bin\]\]/{n;s/^name = "\(.*\)"$/\1/p}' tests/fuzz/Cargo.toml)
fi
if [ -n "${FUZZ_RUNS:-}" ]; then
    bound=("-runs=$FUZZ_RUNS")
else
    bound=("-max_total_time=${FUZZ_SECONDS:-60}")
fi
sanitizer="${FUZZ_SANITIZER:-none}"

if ! command -v cargo-fuzz >/dev/null; then
    echo "fuzz.sh: cargo-fuzz is not installed: cargo install cargo-fuzz --locked; no target was run" >&2
    echo "fuzz.sh: the bodies of the targets also run in: cargo test --test fuzz_bodies" >&2
    exit 1
fi

# The versions that the broker is built with.
[ -e tests/fuzz/Cargo.lock ] || cp Cargo.lock tests/fuzz/Cargo.lock
# A target directory of the caller's is for other flags.
unset CARGO_TARGET_DIR

cargo run --quiet --manifest-path tests/fuzz/Cargo.toml --example seeds -- tests/fuzz/corpus
for target in "${targets[@]}"; do
    echo "fuzz.sh: $target, ${bound[0]#-}"
    # Inputs beyond 4 KiB only make it slower; one that takes 10 seconds is a finding.
    cargo fuzz run --fuzz-dir tests/fuzz --sanitizer "$sanitizer" "$target" -- \
        "${bound[@]}" -dict=tests/fuzz/mqtt.dict \
        -max_len=4096 -timeout=10 -rss_limit_mb=2048 -print_final_stats=1
done
