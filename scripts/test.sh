#!/usr/bin/env bash
# test.sh [FILTER...]: unit tests, then the black-box tests; the last line is the count of both.
#
# The programs under test are those of $KICKSTAGE_BIN, which `make test` has
# built before. A filter goes to the black-box tests, which then run alone.
set -uo pipefail
cargo=${CARGO:-cargo}
passed=0 failed=0 skipped=0
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# Runs a command, shows what it prints, and adds up the counts in it. One that
# fails without naming a failed test (it did not compile, it was killed) is one
# failure: it must not get lost in the sum.
counted() {
    local status before=$failed counts
    "$@" 2>&1 | tee "$log"
    status=$?
    # "test result: ok. 3 passed; 0 failed; 1 ignored; ..." of libtest, or
    # "3 passed, 0 failed, 1 skipped" alone on a line.
    counts=$(sed -nE \
        -e 's/^test result: [a-zA-Z]+\. ([0-9]+) passed; ([0-9]+) failed; ([0-9]+) ignored;.*/\1 \2 \3/p' \
        -e 's/^([0-9]+) passed, ([0-9]+) failed, ([0-9]+) skipped$/\1 \2 \3/p' "$log")
    while read -r good bad left; do
        passed=$((passed + good)) failed=$((failed + bad)) skipped=$((skipped + left))
    done <<<"${counts:-0 0 0}"
    if ((status != 0 && failed == before)); then
        failed=$((failed + 1))
        echo "FAILED (exit code $status): $*"
    fi
}

if (($# == 0)); then
    # The black-box package needs no_std programs beside it, not a unit test build.
    counted "$cargo" test --quiet --workspace --exclude kickstage-tests
    counted "$cargo" test --quiet -p kickstage-tests --lib
    counted scripts/fuzz.sh 60
fi
counted "$cargo" test --quiet -p kickstage-tests --test blackbox -- "$@"
echo
echo "$passed passed, $failed failed, $skipped skipped"
((failed == 0 && passed > 0))
