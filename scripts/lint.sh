#!/usr/bin/env bash
# lint.sh BINARIES MAN: everything that `make lint` checks; all of it, even behind a failure.
set -uo pipefail
cargo=${CARGO:-cargo} binaries=$1 man=$2
failed=()

check() {
    local name=$1
    shift
    if "$@"; then
        echo "lint $name: ok"
    else
        echo "lint $name: FAILED"
        failed+=("$name")
    fi
}

check fmt "$cargo" fmt --all --check
check clippy "$cargo" clippy --quiet --keep-going --workspace --all-targets -- -D warnings -D clippy::too_many_lines
check "clippy of inits" "$cargo" clippy --quiet -p stage1-init --features examples --examples -- -D warnings -D clippy::too_many_lines
check docs env RUSTDOCFLAGS="-D warnings" "$cargo" doc --quiet --no-deps -p fly -p stage1-init -p stage0
check library "$cargo" check --quiet -p fly --lib --no-default-features
check shellcheck shellcheck .ci/run scripts/*.sh
check selftest python3 -B scripts/gates_selftest.py
check gates python3 -B scripts/gates.py --binaries "$binaries" --man "$man"
((${#failed[@]} == 0)) || {
    echo "lint: FAILED: ${failed[*]}"
    exit 1
}
