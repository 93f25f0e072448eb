#!/usr/bin/env bash
# fuzz.sh [SECONDS]: runs all fuzz targets, for so many seconds in total; the last line is the count.
#
# The layout is cargo-fuzz's, and `cargo +nightly fuzz run TARGET` works, too; it
# is not needed: what it adds are these flags. Findings are in fuzz/artifacts, what
# was learned goes to fuzz/corpus; neither is tracked. Without a nightly compiler,
# or without the crate libfuzzer-sys, all targets are skipped, and the line says why.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
total=${1:-60}
targets=(arguments environment manifest users plan program seccomp)
machine=x86_64-unknown-linux-gnu
build=${CARGO_TARGET_DIR:-$PWD/target}/fuzz
flags="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table
    -Cllvm-args=-sanitizer-coverage-trace-compares -Zsanitizer=address -Ccodegen-units=1"

skip() {
    echo "fuzz: skipped: $*"
    echo "0 passed, 0 failed, ${#targets[@]} skipped"
    exit 0
}

cargo +nightly --version >/dev/null 2>&1 || skip "no nightly compiler (rustup toolchain install nightly)"
command -v g++ >/dev/null || skip "no C++ compiler, with which libFuzzer is built (apt-get install g++)"
cargo +nightly fetch --quiet --manifest-path fuzz/Cargo.toml || skip "the crate libfuzzer-sys can't be fetched"
RUSTFLAGS=$(tr -s '\n ' ' ' <<<"$flags") cargo +nightly build --quiet --release --manifest-path fuzz/Cargo.toml \
    --target "$machine" --target-dir "$build" || {
    echo "0 passed, ${#targets[@]} failed, 0 skipped"
    exit 1
}
# Targets write files over and over: in memory.
TMPDIR=$(mktemp -d -p /dev/shm) && export TMPDIR || exit 1
trap 'rm -rf "$TMPDIR"' EXIT
programs=$build/$machine/release
mkdir -p fuzz/corpus/seccomp
"$programs/plans" fuzz/seeds/arguments fuzz/seeds/plan || exit 1
cp fly/src/seccomp/default.json fuzz/corpus/seccomp/ || exit 1
passed=0 failed=0
for target in "${targets[@]}"; do
    mkdir -p "fuzz/corpus/$target" "fuzz/artifacts/$target"
    log=$(mktemp)
    # One that hangs is a finding, too.
    if timeout -s KILL $((total + 60)) "$programs/$target" -max_total_time=$((total / ${#targets[@]})) \
        -timeout=10 -rss_limit_mb=2048 -max_len=32768 -print_final_stats=1 \
        -artifact_prefix="fuzz/artifacts/$target/" "fuzz/corpus/$target" "fuzz/seeds/$target" >"$log" 2>&1; then
        passed=$((passed + 1))
        echo "ok    fuzz::$target: $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") runs"
    else
        failed=$((failed + 1))
        echo "FAIL  fuzz::$target"
        tail -n 30 "$log"
    fi
    rm -f "$log"
done
echo "$passed passed, $failed failed, 0 skipped"
((failed == 0))
